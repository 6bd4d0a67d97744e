-- What the domains of each creator come to, kept by the changes themselves: a quota is looked at for every new domain, and ten thousand
-- rows are too many to add up each time. Whoever makes the table of domains anew makes these triggers anew.

CREATE TABLE usage (
  created_by TEXT PRIMARY KEY,
  domains    INTEGER NOT NULL,
  vcpus      INTEGER NOT NULL,
  memory_mib INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO usage SELECT created_by, count(*), sum(vcpus), sum(max_memory_mib) FROM domains GROUP BY created_by;
DROP INDEX domains_creator;

CREATE TRIGGER usage_grows AFTER INSERT ON domains BEGIN
  INSERT INTO usage VALUES (new.created_by, 1, new.vcpus, new.max_memory_mib)
    ON CONFLICT (created_by) DO UPDATE SET
      domains = domains + 1, vcpus = vcpus + excluded.vcpus, memory_mib = memory_mib + excluded.memory_mib;
END;

CREATE TRIGGER usage_changes AFTER UPDATE ON domains
WHEN old.vcpus <> new.vcpus OR old.max_memory_mib <> new.max_memory_mib BEGIN
  UPDATE usage SET vcpus = vcpus - old.vcpus + new.vcpus, memory_mib = memory_mib - old.max_memory_mib + new.max_memory_mib
    WHERE created_by = new.created_by;
END;

CREATE TRIGGER usage_shrinks AFTER DELETE ON domains BEGIN
  UPDATE usage SET domains = domains - 1, vcpus = vcpus - old.vcpus, memory_mib = memory_mib - old.max_memory_mib
    WHERE created_by = old.created_by;
  DELETE FROM usage WHERE created_by = old.created_by AND domains = 0;
END;
