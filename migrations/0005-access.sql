-- Projects, tokens and the audit log; domains, images, tasks and events are each in a project.

CREATE TABLE projects (
  position    INTEGER PRIMARY KEY AUTOINCREMENT,
  name        TEXT NOT NULL UNIQUE,
  description TEXT NOT NULL,
  created_at  INTEGER NOT NULL,
  deleted_at  INTEGER
) STRICT;

INSERT INTO projects (name, description, created_at)
  VALUES ('default', 'Where objects are unless said otherwise.', CAST(unixepoch('subsec') * 1000 AS INTEGER));

CREATE TABLE tokens (
  position     INTEGER PRIMARY KEY AUTOINCREMENT,
  id           TEXT NOT NULL UNIQUE,
  name         TEXT NOT NULL UNIQUE,
  digest       TEXT NOT NULL UNIQUE,
  role         TEXT NOT NULL,
  projects     TEXT NOT NULL,
  rate_limit   TEXT,
  quotas       TEXT,
  created_at   INTEGER NOT NULL,
  created_by   TEXT NOT NULL,
  expires_at   INTEGER,
  last_used_at INTEGER
) STRICT;

ALTER TABLE domains ADD COLUMN project TEXT NOT NULL DEFAULT 'default';
ALTER TABLE domains ADD COLUMN created_by TEXT NOT NULL DEFAULT 'root';
CREATE INDEX domains_project ON domains (project, position);
-- What a quota counts is read from the index alone.
CREATE INDEX domains_creator ON domains (created_by, vcpus, max_memory_mib);

ALTER TABLE tasks ADD COLUMN project TEXT DEFAULT 'default';
CREATE INDEX tasks_project ON tasks (project, position);

ALTER TABLE events ADD COLUMN project TEXT DEFAULT 'default';

-- The same bytes in another project are another image: a UNIQUE cannot be changed in place.
CREATE TABLE images_anew (
  position   INTEGER PRIMARY KEY AUTOINCREMENT,
  id         TEXT NOT NULL UNIQUE,
  kind       TEXT NOT NULL,
  sha256     TEXT NOT NULL,
  size       INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  inspection TEXT,
  project    TEXT NOT NULL,
  UNIQUE (project, sha256, kind)
) STRICT;

INSERT INTO images_anew (position, id, kind, sha256, size, created_at, inspection, project)
  SELECT position, id, kind, sha256, size, created_at, inspection, 'default' FROM images;
DELETE FROM sqlite_sequence WHERE name = 'images_anew';
INSERT INTO sqlite_sequence (name, seq) SELECT 'images_anew', seq FROM sqlite_sequence WHERE name = 'images';
DROP TABLE images;
ALTER TABLE images_anew RENAME TO images;
CREATE INDEX images_sha256 ON images (sha256);
CREATE INDEX images_project ON images (project, position);
