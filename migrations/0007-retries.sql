-- Idempotency keys: what was asked under each, what it set off, and how it was answered.

CREATE TABLE retries (
  caller     TEXT NOT NULL,
  route      TEXT NOT NULL,
  key        TEXT NOT NULL,
  hash       TEXT NOT NULL,
  boot_epoch INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  accepted   TEXT,
  answer     TEXT,
  PRIMARY KEY (caller, route, key)
) STRICT;

CREATE INDEX retries_started ON retries (started_at);
