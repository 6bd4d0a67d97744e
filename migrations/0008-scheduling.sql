-- How a domain shares its worker with others, and which workers it may have.

ALTER TABLE domains ADD COLUMN cpu_weight INTEGER NOT NULL DEFAULT 256;
ALTER TABLE domains ADD COLUMN cpu_cap INTEGER NOT NULL DEFAULT 0;
ALTER TABLE domains ADD COLUMN cpu_affinity TEXT;
