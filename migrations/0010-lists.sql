-- What lists are sorted and filtered by. Where two rows are equal, the older comes first.

CREATE INDEX domains_state ON domains (state, position);
CREATE INDEX domains_memory ON domains (memory_mib, position);
CREATE INDEX domains_vcpus ON domains (vcpus, position);
CREATE INDEX domains_changed ON domains (changed_at, position);
CREATE INDEX tasks_state ON tasks (state, position);
CREATE INDEX tasks_operation ON tasks (operation, position);
