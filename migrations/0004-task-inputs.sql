-- What a task was asked for besides its operation, as JSON: a restart goes on with it.

CREATE TABLE task_inputs (
  task  TEXT PRIMARY KEY REFERENCES tasks (id) ON DELETE CASCADE,
  input TEXT NOT NULL
) STRICT, WITHOUT ROWID;
