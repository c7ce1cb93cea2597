-- Written by `make docs` from headrace/recognitions/schema.py: do not edit.
-- For a database of Supabase, or any PostgreSQL that is not Headrace's own.

CREATE SCHEMA IF NOT EXISTS raw;

CREATE TABLE raw.recognition_files (
    tenant_id uuid NOT NULL,
    recognition_id bigint NOT NULL CHECK (recognition_id >= 0),
    role varchar(10) NOT NULL CHECK (role IN ('main', 'qualifying')),
    path varchar(1024) NOT NULL,
    recognized_on date,
    object_key varchar(255) NOT NULL,
    sha256 varchar(64) NOT NULL,
    bytes bigint NOT NULL CHECK (bytes >= 1),
    width integer NOT NULL CHECK (width >= 1),
    height integer NOT NULL CHECK (height >= 1),
    media_type varchar(32) NOT NULL,
    batch_id varchar(64) NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT raw_recognition_files_pkey PRIMARY KEY (tenant_id, recognition_id, role)
);

CREATE INDEX raw_recognition_files_batch_id_idx ON raw.recognition_files (tenant_id, batch_id);

ALTER TABLE raw.recognition_files ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE raw.recognition_files IS 'The photos of a dataset, as they were found and stored.';

CREATE TABLE raw.correct_dishes (
    tenant_id uuid NOT NULL,
    recognition_id bigint NOT NULL CHECK (recognition_id >= 0),
    path varchar(1024) NOT NULL,
    payload text NOT NULL,
    batch_id varchar(64) NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT raw_correct_dishes_pkey PRIMARY KEY (tenant_id, recognition_id)
);

CREATE INDEX raw_correct_dishes_batch_id_idx ON raw.correct_dishes (tenant_id, batch_id);

ALTER TABLE raw.correct_dishes ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE raw.correct_dishes IS 'The check of a tray: which dishes were on it.';

CREATE TABLE raw.dish_catalog (
    tenant_id uuid NOT NULL,
    recognition_id bigint NOT NULL CHECK (recognition_id >= 0),
    path varchar(1024) NOT NULL,
    payload text NOT NULL,
    batch_id varchar(64) NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT raw_dish_catalog_pkey PRIMARY KEY (tenant_id, recognition_id)
);

CREATE INDEX raw_dish_catalog_batch_id_idx ON raw.dish_catalog (tenant_id, batch_id);

ALTER TABLE raw.dish_catalog ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE raw.dish_catalog IS 'The menu of the day.';

CREATE TABLE raw.qwen_annotations (
    tenant_id uuid NOT NULL,
    recognition_id bigint NOT NULL CHECK (recognition_id >= 0),
    role varchar(10) NOT NULL CHECK (role IN ('main', 'qualifying')),
    path varchar(1024) NOT NULL,
    payload text NOT NULL,
    refused text NOT NULL,
    width integer NOT NULL CHECK (width >= 1),
    height integer NOT NULL CHECK (height >= 1),
    batch_id varchar(64) NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT raw_qwen_annotations_pkey PRIMARY KEY (tenant_id, recognition_id, role)
);

CREATE INDEX raw_qwen_annotations_batch_id_idx ON raw.qwen_annotations (tenant_id, batch_id);

ALTER TABLE raw.qwen_annotations ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE raw.qwen_annotations IS 'What the model said of a photo.';

CREATE TABLE public.recognitions (
    tenant_id uuid NOT NULL,
    recognition_id bigint NOT NULL CHECK (recognition_id >= 0),
    recognized_on date,
    batch_id varchar(64) NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT recognitions_pkey PRIMARY KEY (tenant_id, recognition_id)
);

CREATE INDEX recognitions_batch_id_idx ON public.recognitions (tenant_id, batch_id);

CREATE INDEX recognitions_recognized_on_idx ON public.recognitions (tenant_id, recognized_on, recognition_id);

ALTER TABLE public.recognitions ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE public.recognitions IS 'A tray that was photographed twice.';

CREATE TABLE public.recognition_photos (
    tenant_id uuid NOT NULL,
    recognition_id bigint NOT NULL CHECK (recognition_id >= 0),
    role varchar(10) NOT NULL CHECK (role IN ('main', 'qualifying')),
    object_key varchar(255) NOT NULL,
    sha256 varchar(64) NOT NULL,
    bytes bigint NOT NULL CHECK (bytes >= 1),
    width integer NOT NULL CHECK (width >= 1),
    height integer NOT NULL CHECK (height >= 1),
    media_type varchar(32) NOT NULL,
    CONSTRAINT recognition_photos_pkey PRIMARY KEY (tenant_id, recognition_id, role),
    CONSTRAINT recognition_photos_parent_fkey FOREIGN KEY (tenant_id, recognition_id) REFERENCES public.recognitions (tenant_id, recognition_id) ON DELETE CASCADE
);

CREATE INDEX recognition_photos_object_key_idx ON public.recognition_photos (tenant_id, object_key);

ALTER TABLE public.recognition_photos ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE public.recognition_photos IS 'A photo of a tray.';

CREATE TABLE public.recognition_menu_items (
    tenant_id uuid NOT NULL,
    recognition_id bigint NOT NULL CHECK (recognition_id >= 0),
    position integer NOT NULL CHECK (position >= 0),
    external_id varchar(64) NOT NULL,
    name varchar(255) NOT NULL,
    CONSTRAINT recognition_menu_items_pkey PRIMARY KEY (tenant_id, recognition_id, position),
    CONSTRAINT recognition_menu_items_parent_fkey FOREIGN KEY (tenant_id, recognition_id) REFERENCES public.recognitions (tenant_id, recognition_id) ON DELETE CASCADE
);

ALTER TABLE public.recognition_menu_items ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE public.recognition_menu_items IS 'A dish that was offered on the day.';

CREATE TABLE public.recognition_checks (
    tenant_id uuid NOT NULL,
    recognition_id bigint NOT NULL CHECK (recognition_id >= 0),
    line_count integer NOT NULL CHECK (line_count >= 0),
    dish_count bigint NOT NULL CHECK (dish_count >= 0),
    CONSTRAINT recognition_checks_pkey PRIMARY KEY (tenant_id, recognition_id),
    CONSTRAINT recognition_checks_parent_fkey FOREIGN KEY (tenant_id, recognition_id) REFERENCES public.recognitions (tenant_id, recognition_id) ON DELETE CASCADE
);

ALTER TABLE public.recognition_checks ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE public.recognition_checks IS 'What was on the tray, as the till has it.';

CREATE TABLE public.recognition_check_lines (
    tenant_id uuid NOT NULL,
    recognition_id bigint NOT NULL CHECK (recognition_id >= 0),
    line integer NOT NULL CHECK (line >= 0),
    choice integer NOT NULL CHECK (choice >= 0),
    quantity integer NOT NULL CHECK (quantity >= 1),
    external_id varchar(64) NOT NULL,
    name varchar(255) NOT NULL,
    CONSTRAINT recognition_check_lines_pkey PRIMARY KEY (tenant_id, recognition_id, line, choice),
    CONSTRAINT recognition_check_lines_parent_fkey FOREIGN KEY (tenant_id, recognition_id) REFERENCES public.recognition_checks (tenant_id, recognition_id) ON DELETE CASCADE
);

ALTER TABLE public.recognition_check_lines ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE public.recognition_check_lines IS 'A dish on a line of the check; a line with several says that it is one of them.';

CREATE TABLE public.recognition_detections (
    tenant_id uuid NOT NULL,
    recognition_id bigint NOT NULL CHECK (recognition_id >= 0),
    role varchar(10) NOT NULL CHECK (role IN ('main', 'qualifying')),
    kind varchar(10) NOT NULL CHECK (kind IN ('dish', 'plate')),
    position integer NOT NULL CHECK (position >= 0),
    label varchar(255) NOT NULL,
    x_min integer NOT NULL CHECK (x_min >= 0),
    y_min integer NOT NULL CHECK (y_min >= 0),
    x_max integer NOT NULL,
    y_max integer NOT NULL,
    batch_id varchar(64) NOT NULL,
    CONSTRAINT recognition_detections_pkey PRIMARY KEY (tenant_id, recognition_id, role, kind, position),
    CONSTRAINT recognition_detections_parent_fkey FOREIGN KEY (tenant_id, recognition_id, role) REFERENCES public.recognition_photos (tenant_id, recognition_id, role) ON DELETE CASCADE,
    CONSTRAINT recognition_detections_x_max_check CHECK (x_min < x_max),
    CONSTRAINT recognition_detections_y_max_check CHECK (y_min < y_max)
);

CREATE INDEX recognition_detections_batch_id_idx ON public.recognition_detections (tenant_id, batch_id);

ALTER TABLE public.recognition_detections ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE public.recognition_detections IS 'A box in a photo in which the model sees something.';

CREATE TABLE public.recognition_intents (
    tenant_id uuid NOT NULL,
    attempt_id uuid NOT NULL,
    object_key varchar(255) NOT NULL,
    state varchar(10) NOT NULL CHECK (state IN ('put', 'release')),
    batch_id varchar(64) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT recognition_intents_pkey PRIMARY KEY (tenant_id, attempt_id, object_key)
);

CREATE INDEX recognition_intents_object_key_idx ON public.recognition_intents (tenant_id, object_key);

ALTER TABLE public.recognition_intents ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE public.recognition_intents IS 'Objects that are being stored, or may have to go: what a kill leaves is found here.';

CREATE TABLE public.recognition_stores (
    tenant_id uuid NOT NULL,
    store_id uuid NOT NULL,
    CONSTRAINT recognition_stores_pkey PRIMARY KEY (tenant_id, store_id)
);

ALTER TABLE public.recognition_stores ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE public.recognition_stores IS 'The object store''s folder that is the tenant''s: its object `owner` repeats this id.';
