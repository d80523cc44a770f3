-- A role for workers that can add events and answers, and neither change nor remove any.

-- Roles belong to the whole server: another database may have made this one, even at this very moment.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'seatline_worker') THEN
        CREATE ROLE seatline_worker NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;
GRANT USAGE ON SCHEMA seatline, read_model, panel TO seatline_worker;
GRANT SELECT ON ALL TABLES IN SCHEMA seatline, read_model, panel TO seatline_worker;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA seatline, panel TO seatline_worker;
GRANT USAGE ON SEQUENCE seatline.order_number_blocks TO seatline_worker;

GRANT INSERT ON seatline.stored_events, seatline.answers, seatline.effect_decisions TO seatline_worker;
GRANT INSERT, DELETE ON seatline.due TO seatline_worker;
GRANT INSERT, DELETE ON seatline.parked TO seatline_worker;
GRANT INSERT, UPDATE ON seatline.positions, seatline.effects, seatline.inbox, seatline.dead_letters, seatline.memories
    TO seatline_worker;
-- Locking a row takes the right to update a column of it; which table a view shows is none of the workers' business.
GRANT UPDATE (name) ON seatline.views TO seatline_worker;
GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA read_model TO seatline_worker;

-- What the owner makes later: generations of views, and the views themselves.
ALTER DEFAULT PRIVILEGES IN SCHEMA read_model GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO seatline_worker;
ALTER DEFAULT PRIVILEGES IN SCHEMA panel GRANT SELECT ON TABLES TO seatline_worker;
ALTER DEFAULT PRIVILEGES IN SCHEMA seatline GRANT SELECT ON TABLES TO seatline_worker;
