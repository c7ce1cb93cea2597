"""From the raw layer to the domain layer, set by set; done twice it changes nothing.

A transaction transforms what it brought, which `recognition_touched` lists; `run_batch` lists a
whole batch. Each statement reads the raw payloads as JSON, as each database spells that.
"""

from headrace.recognitions.database import Database, Session

_MINE = "t.tenant_id = :tenant"
_TOUCHED = "JOIN recognition_touched USING (recognition_id)"
_GONE = (
    "DELETE FROM {{{table}}} WHERE tenant_id = :tenant"
    " AND recognition_id IN (SELECT recognition_id FROM recognition_touched)"
)

RECOGNITIONS = f"""
INSERT INTO {{recognitions}} (tenant_id, recognition_id, recognized_on, batch_id, loaded_at)
SELECT t.tenant_id, t.recognition_id, t.recognized_on, t.batch_id, t.loaded_at
FROM {{raw_recognition_files}} t {_TOUCHED}
WHERE {_MINE} AND t.role = 'main'
ON CONFLICT (tenant_id, recognition_id) DO UPDATE
SET recognized_on = excluded.recognized_on, batch_id = excluded.batch_id,
    loaded_at = excluded.loaded_at"""

PHOTOS = f"""
INSERT INTO {{recognition_photos}}
    (tenant_id, recognition_id, role, object_key, sha256, bytes, width, height, media_type)
SELECT t.tenant_id, t.recognition_id, t.role, t.object_key, t.sha256, t.bytes, t.width, t.height,
       t.media_type
FROM {{raw_recognition_files}} t {_TOUCHED}
WHERE {_MINE}
ON CONFLICT (tenant_id, recognition_id, role) DO UPDATE
SET object_key = excluded.object_key, sha256 = excluded.sha256, bytes = excluded.bytes,
    width = excluded.width, height = excluded.height, media_type = excluded.media_type"""

_INTO_MENU = (
    "INSERT INTO {recognition_menu_items} (tenant_id, recognition_id, position, external_id, name)"
)
_INTO_CHECKS = (
    "INSERT INTO {recognition_checks} (tenant_id, recognition_id, line_count, dish_count)"
)
_INTO_LINES = (
    "INSERT INTO {recognition_check_lines}"
    " (tenant_id, recognition_id, line, choice, quantity, external_id, name)"
)
_INTO_DETECTIONS = (
    "INSERT INTO {recognition_detections} (tenant_id, recognition_id, role, kind, position, label,"
    " x_min, y_min, x_max, y_max, batch_id)"
)
# Annotations hold for a photo of the size that they were checked against.
_ANNOTATED = f"""
FROM {{raw_qwen_annotations}} t {_TOUCHED}
JOIN {{recognition_photos}} p USING (tenant_id, recognition_id, role, width, height)"""

POSTGRESQL = {
    "menu": f"""{_INTO_MENU}
SELECT t.tenant_id, t.recognition_id, dish.place - 1, dish.body->>'ExternalId', dish.body->>'Name'
FROM {{raw_dish_catalog}} t {_TOUCHED}
CROSS JOIN LATERAL json_array_elements(t.payload::json) WITH ORDINALITY AS dish (body, place)
WHERE {_MINE}""",
    "checks": f"""{_INTO_CHECKS}
SELECT t.tenant_id, t.recognition_id, count(line.body), coalesce(sum((line.body->>'Count')::int), 0)
FROM {{raw_correct_dishes}} t {_TOUCHED}
LEFT JOIN LATERAL json_array_elements(t.payload::json) AS line (body) ON true
WHERE {_MINE} GROUP BY t.tenant_id, t.recognition_id""",
    "lines": f"""{_INTO_LINES}
SELECT t.tenant_id, t.recognition_id, line.place - 1, dish.place - 1, (line.body->>'Count')::int,
       dish.body->>'ExternalId', dish.body->>'Name'
FROM {{raw_correct_dishes}} t {_TOUCHED}
CROSS JOIN LATERAL json_array_elements(t.payload::json) WITH ORDINALITY AS line (body, place)
CROSS JOIN LATERAL json_array_elements(line.body->'Dishes') WITH ORDINALITY AS dish (body, place)
WHERE {_MINE}""",
    "detections": f"""{_INTO_DETECTIONS}
SELECT t.tenant_id, t.recognition_id, t.role, kinds.kind, box.place - 1, box.body->>'label',
       (box.body->'bbox_2d'->>0)::numeric::int, (box.body->'bbox_2d'->>1)::numeric::int,
       (box.body->'bbox_2d'->>2)::numeric::int, (box.body->'bbox_2d'->>3)::numeric::int, t.batch_id
{_ANNOTATED}
CROSS JOIN (VALUES ('dish', 'dishes'), ('plate', 'plates')) AS kinds (kind, part)
CROSS JOIN LATERAL json_array_elements(t.payload::json->kinds.part->'qwen_detections')
    WITH ORDINALITY AS box (body, place)
WHERE {_MINE} AND NOT t.refused::jsonb ? (kinds.part || '/' || (box.place - 1))""",
}

SQLITE = {
    "menu": f"""{_INTO_MENU}
SELECT t.tenant_id, t.recognition_id, dish.key,
       CAST(json_extract(dish.value, '$.ExternalId') AS TEXT), json_extract(dish.value, '$.Name')
FROM {{raw_dish_catalog}} t {_TOUCHED} CROSS JOIN json_each(t.payload) AS dish
WHERE {_MINE}""",
    "checks": f"""{_INTO_CHECKS}
SELECT t.tenant_id, t.recognition_id, count(line.value),
       coalesce(sum(json_extract(line.value, '$.Count')), 0)
FROM {{raw_correct_dishes}} t {_TOUCHED} LEFT JOIN json_each(t.payload) AS line
WHERE {_MINE} GROUP BY t.tenant_id, t.recognition_id""",
    "lines": f"""{_INTO_LINES}
SELECT t.tenant_id, t.recognition_id, line.key, dish.key, json_extract(line.value, '$.Count'),
       CAST(json_extract(dish.value, '$.ExternalId') AS TEXT), json_extract(dish.value, '$.Name')
FROM {{raw_correct_dishes}} t {_TOUCHED}
CROSS JOIN json_each(t.payload) AS line CROSS JOIN json_each(line.value, '$.Dishes') AS dish
WHERE {_MINE}""",
    "detections": f"""{_INTO_DETECTIONS}
SELECT t.tenant_id, t.recognition_id, t.role, kinds.column1, box.key,
       json_extract(box.value, '$.label'),
       CAST(json_extract(box.value, '$.bbox_2d[0]') AS INTEGER),
       CAST(json_extract(box.value, '$.bbox_2d[1]') AS INTEGER),
       CAST(json_extract(box.value, '$.bbox_2d[2]') AS INTEGER),
       CAST(json_extract(box.value, '$.bbox_2d[3]') AS INTEGER), t.batch_id
{_ANNOTATED}
CROSS JOIN (VALUES ('dish', 'dishes'), ('plate', 'plates')) AS kinds
CROSS JOIN json_each(t.payload, '$.' || kinds.column2 || '.qwen_detections') AS box
WHERE {_MINE} AND NOT EXISTS (
    SELECT 1 FROM json_each(t.refused) WHERE value = kinds.column2 || '/' || box.key)""",
}
_SPELLED = {"postgresql": POSTGRESQL, "sqlite": SQLITE}


def run_batch(session: Session, database: Database, batch_id: str) -> None:
    """Transform all that a batch brought, in the session's transaction."""
    found = session.rows(
        "SELECT recognition_id FROM {raw_recognition_files}"
        " WHERE tenant_id = :tenant AND batch_id = :batch"
        " UNION SELECT recognition_id FROM {raw_qwen_annotations}"
        " WHERE tenant_id = :tenant AND batch_id = :batch",
        batch=batch_id,
    )
    run(session, database, [number for (number,) in found])


def run(session: Session, database: Database, recognition_ids: list[int]) -> None:
    """Transform what the raw layer has of these recognitions, in the session's transaction."""
    session.touch(recognition_ids)
    spelled = _SPELLED[database.name]
    session.run(RECOGNITIONS)
    session.run(PHOTOS)
    _anew(session, "recognition_menu_items", spelled["menu"])
    _anew(session, "recognition_checks", spelled["checks"])  # its lines go with it
    session.run(spelled["lines"])
    detect(session, database)


def detect(session: Session, database: Database) -> None:
    """The detections of what is touched, in the session's transaction."""
    _anew(session, "recognition_detections", _SPELLED[database.name]["detections"])


def _anew(session: Session, table: str, statement: str) -> None:
    session.run(_GONE.format(table=table))
    session.run(statement)
