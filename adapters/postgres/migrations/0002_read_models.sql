-- Where the views' tables live, which table each view shows, and who may read them.

CREATE SCHEMA read_model;
CREATE SCHEMA panel;

CREATE TABLE seatline.views (
    name text PRIMARY KEY,
    version int NOT NULL,
    generation int NOT NULL
);
COMMENT ON TABLE seatline.views IS 'panel.NAME shows read_model.NAME_GENERATION, made by the handlers of this version.';

-- Roles belong to the whole server: another database may have made this one, even at this very moment.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'panel_reader') THEN
        CREATE ROLE panel_reader NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;
GRANT USAGE ON SCHEMA panel TO panel_reader;
