-- usage_of_caller --
-- The row lock orders the processes that take requests ahead.
SELECT arrival_at, day, used_today FROM caller_usage WHERE caller_id = $1 FOR UPDATE;

-- begin_usage --
INSERT INTO caller_usage (caller_id, arrival_at, day, used_today) VALUES ($1, $2, $3, $4)
ON CONFLICT (caller_id) DO NOTHING
RETURNING caller_id;

-- set_usage --
UPDATE caller_usage SET arrival_at = $2, day = $3, used_today = $4 WHERE caller_id = $1;
