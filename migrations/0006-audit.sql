-- Who did what, with the result. A status is missing where the service ended before its answer.

CREATE TABLE audit (
  number    INTEGER PRIMARY KEY AUTOINCREMENT,
  time      INTEGER NOT NULL,
  token     TEXT NOT NULL,
  name      TEXT NOT NULL,
  address   TEXT,
  operation TEXT,
  object    TEXT,
  project   TEXT,
  status    INTEGER,
  problem   TEXT,
  task      TEXT
) STRICT;

CREATE INDEX audit_time ON audit (time);
CREATE INDEX audit_token ON audit (token, number);
CREATE INDEX audit_object ON audit (object, number) WHERE object IS NOT NULL;
CREATE INDEX audit_operation ON audit (operation, number) WHERE operation IS NOT NULL;
CREATE INDEX audit_refused ON audit (number) WHERE status >= 400;
