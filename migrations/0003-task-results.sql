-- A task says what it made, and need not be of one domain. (Nothing that refers to tasks is touched: no table is made anew.)

ALTER TABLE tasks ADD COLUMN result TEXT;

DROP INDEX tasks_domain;
ALTER TABLE tasks RENAME COLUMN domain TO domain_before;
ALTER TABLE tasks ADD COLUMN domain TEXT;
UPDATE tasks SET domain = domain_before;
ALTER TABLE tasks DROP COLUMN domain_before;
CREATE INDEX tasks_domain ON tasks (domain, position);
