-- A suspended domain has no domid either. A CHECK cannot be changed in place: the table is made anew.

CREATE TABLE domains_anew (
  position        INTEGER PRIMARY KEY AUTOINCREMENT,
  uuid            TEXT NOT NULL UNIQUE,
  name            TEXT NOT NULL UNIQUE,
  description     TEXT NOT NULL,
  kernel          TEXT NOT NULL,
  ramdisk         TEXT,
  cmdline         TEXT NOT NULL,
  memory_mib      INTEGER NOT NULL,
  max_memory_mib  INTEGER NOT NULL,
  vcpus           INTEGER NOT NULL,
  on_crash        TEXT NOT NULL,
  config_version  INTEGER NOT NULL,
  state           TEXT NOT NULL,
  runtime_version INTEGER NOT NULL,
  domid           INTEGER,
  boot_epoch      INTEGER,
  started_at      INTEGER,
  created_at      INTEGER NOT NULL,
  changed_at      INTEGER NOT NULL,
  last_stop       TEXT,
  last_crash      TEXT,
  CHECK ((state IN ('halted', 'suspended')) = (domid IS NULL))
) STRICT;

INSERT INTO domains_anew SELECT * FROM domains;
-- Positions of domains that are gone are not given again.
DELETE FROM sqlite_sequence WHERE name = 'domains_anew';
INSERT INTO sqlite_sequence (name, seq) SELECT 'domains_anew', seq FROM sqlite_sequence WHERE name = 'domains';
DROP TABLE domains;
ALTER TABLE domains_anew RENAME TO domains;

CREATE INDEX domains_kernel ON domains (kernel);
CREATE INDEX domains_ramdisk ON domains (ramdisk) WHERE ramdisk IS NOT NULL;
-- A domid names one live domain.
CREATE UNIQUE INDEX domains_domid ON domains (domid) WHERE domid IS NOT NULL;
