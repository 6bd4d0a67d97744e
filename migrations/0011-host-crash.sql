-- What becomes of domains that the host loses, and the order in which they are put away when it stops.

ALTER TABLE domains ADD COLUMN on_host_crash TEXT NOT NULL DEFAULT 'off';
ALTER TABLE domains ADD COLUMN stop_priority INTEGER NOT NULL DEFAULT 0;

-- When a domain was brought back: so many times in so long, over restarts.
CREATE TABLE host_returns (
  domain TEXT NOT NULL REFERENCES domains (uuid) ON DELETE CASCADE,
  time   INTEGER NOT NULL
) STRICT;

CREATE INDEX host_returns_domain ON host_returns (domain, time);
CREATE INDEX domains_due ON domains (position) WHERE json_extract(last_stop, '$.returnsTo') IS NOT NULL;
