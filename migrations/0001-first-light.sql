-- Definitions, images, tasks with their journal, and the event log. Times are milliseconds since 1970.

CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE images (
  position   INTEGER PRIMARY KEY AUTOINCREMENT,
  id         TEXT NOT NULL UNIQUE,
  kind       TEXT NOT NULL,
  sha256     TEXT NOT NULL,
  size       INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  inspection TEXT,
  UNIQUE (sha256, kind)
) STRICT;

CREATE TABLE domains (
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
  CHECK ((state = 'halted') = (domid IS NULL))
) STRICT;

CREATE INDEX domains_kernel ON domains (kernel);
CREATE INDEX domains_ramdisk ON domains (ramdisk) WHERE ramdisk IS NOT NULL;
CREATE INDEX domains_live ON domains (state) WHERE state <> 'halted';
-- A domid names one live domain.
CREATE UNIQUE INDEX domains_domid ON domains (domid) WHERE domid IS NOT NULL;

CREATE TABLE tasks (
  position    INTEGER PRIMARY KEY AUTOINCREMENT,
  id          TEXT NOT NULL UNIQUE,
  operation   TEXT NOT NULL,
  domain      TEXT NOT NULL,
  state       TEXT NOT NULL,
  step        TEXT,
  steps_done  INTEGER NOT NULL,
  steps_total INTEGER NOT NULL,
  created_at  INTEGER NOT NULL,
  started_at  INTEGER,
  finished_at INTEGER,
  refusal     TEXT
) STRICT;

CREATE INDEX tasks_domain ON tasks (domain, position);
CREATE INDEX tasks_unfinished ON tasks (position) WHERE finished_at IS NULL;
CREATE INDEX tasks_finished ON tasks (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE task_steps (
  task  TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
  step  INTEGER NOT NULL,
  name  TEXT NOT NULL,
  state TEXT NOT NULL,
  time  INTEGER NOT NULL,
  PRIMARY KEY (task, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
  sequence  INTEGER PRIMARY KEY AUTOINCREMENT,
  time      INTEGER NOT NULL,
  class     TEXT NOT NULL,
  operation TEXT NOT NULL,
  reason    TEXT NOT NULL,
  id        TEXT NOT NULL,
  object    TEXT NOT NULL
) STRICT;
