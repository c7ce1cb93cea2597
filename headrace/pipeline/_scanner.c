/* The fast path of the checker in C: clean records to rows that are ready to stage.
 *
 * It must pass nothing that the inspector would not pass as the same row: whatever it does not
 * understand at once, from an exponent to rubbish, is given to a function in Python. It refuses
 * nothing itself. scanning.py says what goes in and what comes out, and does the same without this
 * module.
 *
 * A record is a bytes object, and so has a NUL behind it: no function here passes one by.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define MAX_FIELDS 32
#define MAX_COLUMNS 64
#define MAX_LINE (1 << 20)
#define MAX_DEPTH 16    /* of objects and arrays within a field */
#define MAX_MEMBERS 64  /* of one object within a field */
#define MOST_DIGITS 18  /* of a number within an object: more may not fit 64 bits */
#define MOST_DECIMALS 6 /* of one: more may be spelled with an exponent */
#define KEY_BYTES 36
#define ENTRY_BYTES 60 /* of scratch.INDEX: line, offset, mask, length, key */
#define NUMBER_BYTES 20
#define ADLER_BYTES 5552
#define ADLER_PRIME 65521

enum kind { UUID, TEXT, CHOICE, MONEY, INTEGER, BOOLEAN, TIMESTAMP, OBJECT, CLOSED };
enum state { ABSENT, NOTHING, GIVEN };
enum rule { BEFORE, NOT_NEGATIVE, ONE_OF, ONLY_WITH };
enum column { TENANT = -1, OPERATION = -2, IGNORED = -3 }; /* those that no field has */

typedef struct {
    const char *at;
    Py_ssize_t size;
} Text;

typedef struct {
    Text text;
    enum state state;
} Cell;

typedef struct {
    Text name;
    int kind, is_required, may_be_null;
    Py_ssize_t most;     /* characters of a text, digits of money before the point */
    Py_ssize_t decimals; /* of money */
    int flag; /* money may be negative, an integer must not be 0, a time must say that it is UTC */
    PyObject *choices; /* a tuple of bytes */
} Field;

typedef struct {
    int rule, one, other;
    Text equals;
} Check;

typedef struct {
    char *data;
    size_t size, room;
} Buffer;

typedef struct {
    PyObject_HEAD
    PyObject *kept; /* holds what the texts of fields and checks point into */
    Field fields[MAX_FIELDS];
    int width, cluster;
    Check checks[MAX_FIELDS];
    int check_count;
    int ties[MAX_FIELDS];
    int tie_count;
    Text tenant;
    char delimiter; /* 0 for JSON */
    int columns[MAX_COLUMNS]; /* of delimited records: fields, or an enum column */
    int column_count;
    /* The record at hand. */
    Cell cells[MAX_FIELDS];
    Buffer spelled, sorting; /* texts that travel otherwise than they stand in it */
    /* What is given back. */
    Buffer rows, index, digests;
} Scanner;

/* ---- Buffers: `reserve` first, then put. ---- */

static int reserve(Buffer *buffer, size_t more)
{
    if (buffer->room - buffer->size >= more)
        return 1;
    size_t room = buffer->room * 2 + more;
    char *data = PyMem_Realloc(buffer->data, room);
    if (data == NULL) {
        PyErr_NoMemory();
        return 0;
    }
    buffer->data = data;
    buffer->room = room;
    return 1;
}

static void put(Buffer *buffer, const void *data, size_t size)
{
    memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
}

static void put_sign(Buffer *buffer, char sign)
{
    buffer->data[buffer->size++] = sign;
}

static void put_decimal(Buffer *buffer, uint64_t number)
{
    char digits[NUMBER_BYTES];
    int at = NUMBER_BYTES;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    put(buffer, digits + at, (size_t)(NUMBER_BYTES - at));
}

static void put_little_endian(Buffer *buffer, uint64_t number, int bytes)
{
    for (int at = 0; at < bytes; at++)
        put_sign(buffer, (char)(number >> 8 * at));
}

static PyObject *emptied(Buffer *buffer)
{
    PyObject *bytes = PyBytes_FromStringAndSize(buffer->data, (Py_ssize_t)buffer->size);
    buffer->size = 0;
    return bytes;
}

/* ---- Is a whole text a clean value? ---- */

static int is_digit(char sign)
{
    return sign >= '0' && sign <= '9';
}

static int are_equal(Text one, Text other)
{
    return one.size == other.size && memcmp(one.at, other.at, (size_t)one.size) == 0;
}

static int is_hex(char sign)
{
    return is_digit(sign) || (sign >= 'a' && sign <= 'f');
}

static int is_uuid(Text text)
{
    if (text.size != KEY_BYTES)
        return 0;
    for (int at = 0; at < KEY_BYTES; at++) {
        int is_dash = at == 8 || at == 13 || at == 18 || at == 23;
        if (is_dash ? text.at[at] != '-' : !is_hex(text.at[at]))
            return 0;
    }
    return 1;
}

/* Signs that would be escaped on their way are not plain. The text is sound UTF-8. */
static int is_plain(const Field *field, Text text)
{
    Py_ssize_t length = 0;
    for (Py_ssize_t at = 0; at < text.size; at++) {
        unsigned char sign = (unsigned char)text.at[at];
        if (sign == '\t' || sign == '\n' || sign == '\r' || sign == '\\' || !sign)
            return 0;
        length += (sign & 0xC0) != 0x80; /* others go on with a character */
    }
    return length <= field->most;
}

static int is_choice(const Field *field, Text text)
{
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(field->choices); at++) {
        PyObject *choice = PyTuple_GET_ITEM(field->choices, at);
        Text other = {PyBytes_AS_STRING(choice), PyBytes_GET_SIZE(choice)};
        if (are_equal(text, other))
            return 1;
    }
    return 0;
}

static Py_ssize_t digits_from(Text text, Py_ssize_t at)
{
    Py_ssize_t start = at;
    while (at < text.size && is_digit(text.at[at]))
        at++;
    return at - start;
}

static int is_money(const Field *field, Text text)
{
    Py_ssize_t at = field->flag && text.size && text.at[0] == '-';
    Py_ssize_t whole = digits_from(text, at);
    if (whole == 0 || whole > field->most || (whole > 1 && text.at[at] == '0'))
        return 0;
    at += whole;
    if (at == text.size)
        return 1;
    if (text.at[at] != '.')
        return 0;
    Py_ssize_t decimals = digits_from(text, at + 1);
    return decimals > 0 && decimals <= field->decimals && at + 1 + decimals == text.size;
}

static int is_integer(const Field *field, Text text)
{
    if (text.size == 1 && text.at[0] == '0')
        return !field->flag;
    Py_ssize_t at = text.size && text.at[0] == '-';
    Py_ssize_t digits = digits_from(text, at);
    return digits > 0 && digits <= 9 && text.at[at] != '0' && at + digits == text.size;
}

/* Of two digits the number, else -1. */
static int two_digits(const char *at)
{
    return is_digit(at[0]) && is_digit(at[1]) ? (at[0] - '0') * 10 + at[1] - '0' : -1;
}

/* A day that every year has: 29 February is looked at closer. */
static int is_day(const char *at)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int month = two_digits(at), day = two_digits(at + 3);
    return month >= 1 && month <= 12 && at[2] == '-' && day >= 1 && day <= days[month - 1];
}

static int is_year(const char *at)
{
    int century = two_digits(at), year = two_digits(at + 2);
    return (century == 19 && year >= 70) || ((century == 20 || century == 21) && year >= 0);
}

static int is_time(const char *at)
{
    int hour = two_digits(at), minute = two_digits(at + 3), second = two_digits(at + 6);
    int is_spelled = at[2] == ':' && at[5] == ':';
    return is_spelled && hour >= 0 && hour < 24 && minute >= 0 && minute < 60 && second >= 0
        && second < 60;
}

static int is_timestamp(const Field *field, Text text)
{
    const char *at = text.at;
    if (text.size < 19 || !is_year(at) || at[4] != '-' || !is_day(at + 5))
        return 0;
    if ((at[10] != 'T' && at[10] != ' ') || !is_time(at + 11))
        return 0;
    Py_ssize_t rest = 19;
    if (rest < text.size && at[rest] == '.') {
        Py_ssize_t decimals = digits_from(text, rest + 1);
        if (decimals < 1 || decimals > 6)
            return 0;
        rest += 1 + decimals;
    }
    if (rest == text.size)
        return !field->flag;
    return rest + 1 == text.size && at[rest] == 'Z';
}

static int is_clean(const Field *field, Text text)
{
    switch (field->kind) {
    case UUID: return is_uuid(text);
    case TEXT: return is_plain(field, text);
    case CHOICE: return is_choice(field, text);
    case MONEY: return is_money(field, text);
    case INTEGER: return is_integer(field, text);
    case TIMESTAMP: return is_timestamp(field, text);
    default: return 0;
    }
}

/* The bytes of the character that begins with `sign`, 0 where none does; and what the second byte
 * is bound to, so that a character has one spelling and none is half of a pair. */
static int width_of(unsigned char sign, unsigned char *low, unsigned char *high)
{
    *low = sign == 0xE0 ? 0xA0 : sign == 0xF0 ? 0x90 : 0x80;
    *high = sign == 0xED ? 0x9F : sign == 0xF4 ? 0x8F : 0xBF;
    if (sign >= 0xC2 && sign <= 0xDF)
        return 2;
    if (sign >= 0xE0 && sign <= 0xEF)
        return 3;
    return sign >= 0xF0 && sign <= 0xF4 ? 4 : 0;
}

/* Eight bytes at a time, and up to seven are left. */
static const unsigned char *past_ascii(const unsigned char *at, const unsigned char *end)
{
    uint64_t eight;
    for (; end - at >= 8; at += 8) {
        memcpy(&eight, at, 8);
        if (eight & 0x8080808080808080u)
            break;
    }
    return at;
}

/* Whether a record is UTF-8. The NUL behind it continues no character. */
static int is_utf8(Text text)
{
    const unsigned char *end = (const unsigned char *)text.at + text.size;
    const unsigned char *at = past_ascii((const unsigned char *)text.at, end);
    while (at < end) {
        if (*at < 0x80) {
            at++;
            continue;
        }
        unsigned char low, high;
        int width = width_of(*at, &low, &high);
        if (width == 0 || at[1] < low || at[1] > high)
            return 0;
        for (int more = 2; more < width; more++)
            if ((at[more] & 0xC0) != 0x80)
                return 0;
        at += width;
    }
    return 1;
}

/* ---- JSON. Functions take a place in a record and give the one behind what they read; NULL where
 * somebody must look closer. ---- */

static const char *past_blanks(const char *at)
{
    while (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')
        at++;
    return at;
}

static const char *past_word(const char *at, const char *word)
{
    size_t size = strlen(word);
    return strncmp(at, word, size) == 0 ? at + size : NULL;
}

static int hex_value(char sign)
{
    if (is_digit(sign))
        return sign - '0';
    sign |= 0x20;
    return sign >= 'a' && sign <= 'f' ? sign - 'a' + 10 : -1;
}

/* From the sign behind `\u`: its number, or -1. */
static int32_t code_unit(const char *at)
{
    int32_t unit = 0;
    for (int place = 0; place < 4; place++) {
        int value = hex_value(at[place]);
        if (value < 0)
            return -1;
        unit = unit << 4 | value;
    }
    return unit;
}

static void put_character(Buffer *out, uint32_t number)
{
    if (number < 0x80) {
        put_sign(out, (char)number);
        return;
    }
    int more = number < 0x800 ? 1 : number < 0x10000 ? 2 : 3;
    static const unsigned char heads[] = {0, 0xC0, 0xE0, 0xF0};
    put_sign(out, (char)(heads[more] | number >> 6 * more));
    while (more--)
        put_sign(out, (char)(0x80 | (number >> 6 * more & 0x3F)));
}

/* From the sign behind `\u`; no control characters, no halves of pairs, no backslash. */
static const char *put_unit(Buffer *out, const char *at)
{
    int32_t unit = code_unit(at);
    if (unit < 0x20 || unit == '\\' || (unit >= 0xDC00 && unit <= 0xDFFF))
        return NULL;
    if (unit < 0xD800 || unit > 0xDFFF) {
        put_character(out, (uint32_t)unit);
        return at + 4;
    }
    int32_t other = at[4] == '\\' && at[5] == 'u' ? code_unit(at + 6) : -1;
    if (other < 0xDC00 || other > 0xDFFF)
        return NULL;
    put_character(out, 0x10000 + ((uint32_t)(unit - 0xD800) << 10) + (uint32_t)(other - 0xDC00));
    return at + 10;
}

/* From the sign behind a backslash. */
static const char *put_escaped(Buffer *out, const char *at)
{
    if (*at == 'u')
        return put_unit(out, at + 1);
    if (*at != '"' && *at != '/')
        return NULL;
    put_sign(out, *at);
    return at + 1;
}

static const char *past_plain(const char *at)
{
    while ((unsigned char)*at >= 0x20 && *at != '"' && *at != '\\')
        at++;
    return at;
}

/* From the sign behind the opening quote; no escapes and no control characters. */
static const char *read_plain_string(const char *at, Text *text)
{
    text->at = at;
    at = past_plain(at);
    text->size = at - text->at;
    return *at == '"' ? at + 1 : NULL;
}

static const char *put_plain(Buffer *out, const char *at)
{
    const char *behind = past_plain(at);
    put(out, at, (size_t)(behind - at));
    return behind;
}

/* From the sign behind the opening quote; what is escaped is spelled out, and never longer. */
static const char *read_string(Buffer *out, const char *at, Text *text)
{
    const char *behind = read_plain_string(at, text);
    if (behind)
        return behind;
    size_t start = out->size;
    while (*(behind = put_plain(out, at)) == '\\')
        if ((at = put_escaped(out, behind + 1)) == NULL)
            return NULL;
    text->at = out->data + start;
    text->size = (Py_ssize_t)(out->size - start);
    return *behind == '"' ? behind + 1 : NULL;
}

static const char *read_number(const char *at, Text *text)
{
    text->at = at;
    while (is_digit(*at) || *at == '-' || *at == '+' || *at == '.' || *at == 'e' || *at == 'E')
        at++;
    text->size = at - text->at;
    return text->size ? at : NULL;
}

/* A number as canonical JSON spells it: without zeros at its end, and 0 without a sign. */
static const char *spell_number(Buffer *out, const char *at)
{
    Text text;
    at = read_number(at, &text);
    if (at == NULL)
        return NULL;
    Py_ssize_t sign = text.at[0] == '-';
    Py_ssize_t whole = digits_from(text, sign), end = sign + whole;
    if (whole == 0 || whole > MOST_DIGITS || (whole > 1 && text.at[sign] == '0'))
        return NULL;
    if (end < text.size) {
        Py_ssize_t decimals = text.at[end] == '.' ? digits_from(text, end + 1) : 0;
        if (decimals == 0 || decimals > MOST_DIGITS || end + 1 + decimals != text.size)
            return NULL;
        while (decimals && text.at[end + decimals] == '0')
            decimals--;
        if (decimals > MOST_DECIMALS || whole + decimals > MOST_DIGITS)
            return NULL;
        end += decimals ? 1 + decimals : 0;
    }
    if (sign && end == 2 && text.at[1] == '0')
        return NULL;
    put(out, text.at, (size_t)end);
    return at;
}

typedef struct {
    Text key;          /* in the record */
    size_t start, end; /* in what is spelled: the key, a colon and its value */
} Member;

static const char *spell_value(Scanner *self, const char *at, int depth);

/* In the order of their keys, which must differ. Keys are few: insertion sort. */
static int are_sorted(Member *members, int count)
{
    for (int place = 1; place < count; place++) {
        Member member = members[place];
        int at = place;
        for (; at > 0; at--) {
            Text one = members[at - 1].key, other = member.key;
            size_t shorter = (size_t)(one.size < other.size ? one.size : other.size);
            int order = memcmp(one.at, other.at, shorter);
            if (order == 0 && one.size == other.size)
                return 0;
            if (order < 0 || (order == 0 && one.size < other.size))
                break;
            members[at] = members[at - 1];
        }
        members[at] = member;
    }
    return 1;
}

/* The members from `start` on are put in order, with commas between them. */
static void put_members(Scanner *self, Member *members, int count, size_t start)
{
    Buffer *out = &self->spelled, *sorting = &self->sorting;
    sorting->size = 0;
    for (int place = 0; place < count; place++) {
        if (place)
            put_sign(sorting, ',');
        put(sorting, out->data + members[place].start, members[place].end - members[place].start);
    }
    out->size = start;
    put(out, sorting->data, sorting->size);
}

static const char *spell_member(Scanner *self, const char *at, Member *member, int depth)
{
    Buffer *out = &self->spelled;
    if (*at != '"' || (at = read_plain_string(at + 1, &member->key)) == NULL)
        return NULL;
    for (Py_ssize_t place = 0; place < member->key.size; place++)
        if ((unsigned char)member->key.at[place] >= 0x80) /* others are sorted the same by all */
            return NULL;
    at = past_blanks(at);
    if (*at != ':')
        return NULL;
    member->start = out->size;
    put_sign(out, '"');
    put(out, member->key.at, (size_t)member->key.size);
    put(out, "\":", 2);
    at = spell_value(self, past_blanks(at + 1), depth);
    member->end = out->size;
    return at;
}

/* From the sign behind the opening brace. */
static const char *spell_object(Scanner *self, const char *at, int depth)
{
    Buffer *out = &self->spelled;
    Member members[MAX_MEMBERS];
    int count = 0;
    put_sign(out, '{');
    size_t start = out->size;
    at = past_blanks(at);
    while (*at != '}') {
        if (count == MAX_MEMBERS || (count && *at++ != ','))
            return NULL;
        at = spell_member(self, past_blanks(at), &members[count], depth);
        if (at == NULL)
            return NULL;
        count++;
        at = past_blanks(at);
    }
    if (!are_sorted(members, count))
        return NULL;
    put_members(self, members, count, start);
    put_sign(out, '}');
    return at + 1;
}

/* From the sign behind the opening bracket. */
static const char *spell_array(Scanner *self, const char *at, int depth)
{
    Buffer *out = &self->spelled;
    put_sign(out, '[');
    at = past_blanks(at);
    for (int count = 0; *at != ']'; count++) {
        if (count) {
            if (*at++ != ',')
                return NULL;
            put_sign(out, ',');
        }
        at = spell_value(self, past_blanks(at), depth);
        if (at == NULL)
            return NULL;
        at = past_blanks(at);
    }
    put_sign(out, ']');
    return at + 1;
}

static const char *spell_word(Buffer *out, const char *at, const char *word)
{
    at = past_word(at, word);
    if (at)
        put(out, word, strlen(word));
    return at;
}

/* From the sign behind the opening quote; a quote within would be escaped, and so travel longer. */
static const char *spell_text(Buffer *out, const char *at)
{
    const char *behind;
    put_sign(out, '"');
    while (*(behind = put_plain(out, at)) == '\\') {
        at = put_escaped(out, behind + 1);
        if (at == NULL || out->data[out->size - 1] == '"')
            return NULL;
    }
    put_sign(out, '"');
    return *behind == '"' ? behind + 1 : NULL;
}

/* Canonical JSON, which is never longer than what it spells. */
static const char *spell_value(Scanner *self, const char *at, int depth)
{
    if (depth == MAX_DEPTH)
        return NULL;
    switch (*at) {
    case '{': return spell_object(self, at + 1, depth + 1);
    case '[': return spell_array(self, at + 1, depth + 1);
    case '"': return spell_text(&self->spelled, at + 1);
    case 't': return spell_word(&self->spelled, at, "true");
    case 'f': return spell_word(&self->spelled, at, "false");
    case 'n': return spell_word(&self->spelled, at, "null");
    default: return spell_number(&self->spelled, at);
    }
}

static const char *read_object(Scanner *self, const char *at, Text *text)
{
    size_t start = self->spelled.size;
    if (*at != '{' || (at = spell_object(self, at + 1, 1)) == NULL)
        return NULL;
    text->at = self->spelled.data + start;
    text->size = (Py_ssize_t)(self->spelled.size - start);
    return at;
}

static const char *read_truth(const char *at, Text *text)
{
    text->size = 1;
    text->at = *at == 't' ? "t" : "f";
    return past_word(at, *at == 't' ? "true" : "false");
}

/* Money may be a number or a text, an integer is a number, all others are texts. */
static const char *read_scalar(Scanner *self, const Field *field, const char *at, Text *text)
{
    int is_quoted = *at == '"';
    int may_be_quoted = field->kind != INTEGER;
    int may_be_bare = field->kind == INTEGER || field->kind == MONEY;
    if (is_quoted ? !may_be_quoted : !may_be_bare)
        return NULL;
    at = is_quoted ? read_string(&self->spelled, at + 1, text) : read_number(at, text);
    return at && is_clean(field, *text) ? at : NULL;
}

static const char *read_value(Scanner *self, int place, const char *at)
{
    const Field *field = &self->fields[place];
    Cell *cell = &self->cells[place];
    if (*at == 'n') {
        cell->state = NOTHING;
        return field->may_be_null ? past_word(at, "null") : NULL;
    }
    cell->state = GIVEN;
    switch (field->kind) {
    case OBJECT: return read_object(self, at, &cell->text);
    case BOOLEAN: return read_truth(at, &cell->text);
    default: return read_scalar(self, field, at, &cell->text);
    }
}

/* The field of this name, or TENANT, or IGNORED for any other; most records keep their order. */
static int place_of(const Scanner *self, Text name, int expected)
{
    for (int step = 0; step < self->width; step++) {
        int place = (expected + step) % self->width;
        if (are_equal(name, self->fields[place].name))
            return place;
    }
    static const Text tenant = {"tenant_id", 9};
    return are_equal(name, tenant) ? TENANT : IGNORED;
}

static const char *read_tenant(const Scanner *self, const char *at)
{
    Text text;
    if (*at != '"' || (at = read_plain_string(at + 1, &text)) == NULL)
        return NULL;
    return are_equal(text, self->tenant) ? at : NULL;
}

static int read_json(Scanner *self, Text record)
{
    const char *at = past_blanks(record.at);
    int expected = 0, has_tenant = 0;
    if (*at++ != '{')
        return 0;
    for (int count = 0; *(at = past_blanks(at)) != '}'; count++) {
        Text name;
        if (count && *at++ != ',')
            return 0;
        at = past_blanks(at);
        if (*at != '"' || (at = read_plain_string(at + 1, &name)) == NULL)
            return 0;
        at = past_blanks(at);
        if (*at++ != ':')
            return 0;
        at = past_blanks(at);
        int place = place_of(self, name, expected);
        if (place == IGNORED || (place == TENANT ? has_tenant : self->cells[place].state != ABSENT))
            return 0;
        has_tenant |= place == TENANT;
        at = place == TENANT ? read_tenant(self, at) : read_value(self, place, at);
        if (at == NULL)
            return 0;
        expected = place == TENANT ? expected : place + 1;
    }
    return past_blanks(at + 1) == record.at + record.size;
}

/* ---- Delimited records. ---- */

/* From the sign behind the opening quote; doubled quotes become one. */
static const char *read_quoted(Scanner *self, const char *at, const char *end, Text *text)
{
    Buffer *out = &self->spelled;
    size_t start = out->size;
    text->at = at;
    while ((at = memchr(at, '"', (size_t)(end - at))) != NULL && at[1] == '"') {
        put(out, text->at, (size_t)(at + 1 - text->at));
        text->at = at += 2;
    }
    if (at == NULL)
        return NULL;
    text->size = at - text->at;
    if (out->size > start) {
        put(out, text->at, (size_t)text->size);
        put_sign(out, '\0'); /* an object is read up to a NUL */
        text->at = out->data + start;
        text->size = (Py_ssize_t)(out->size - 1 - start);
    }
    return at + 1;
}

/* Gives the place of the delimiter behind the cell, or the record's end. */
static const char *read_cell(Scanner *self, const char *at, const char *end, Cell *cell)
{
    if (at < end && *at == '"') {
        cell->state = GIVEN;
        at = read_quoted(self, at + 1, end, &cell->text);
        return at && (at == end || *at == self->delimiter) ? at : NULL;
    }
    cell->text.at = at;
    while (at < end && *at != self->delimiter && *at != '"')
        at++;
    cell->text.size = at - cell->text.at;
    cell->state = cell->text.size ? GIVEN : NOTHING;
    return at == end || *at == self->delimiter ? at : NULL;
}

/* A cell of a field, as it stands in the file, to one that travels. */
static int is_read(Scanner *self, const Field *field, Cell *cell)
{
    Text text = cell->text;
    if (cell->state == NOTHING)
        return field->may_be_null;
    if (field->kind == BOOLEAN) {
        const char *behind = read_truth(text.at, &cell->text);
        return behind == text.at + text.size;
    }
    if (field->kind != OBJECT)
        return is_clean(field, text);
    const char *behind = read_object(self, past_blanks(text.at), &cell->text);
    const char *end = text.at + text.size;
    // A tab that ends the cell is no blank of it.
    return behind && (behind == end || past_blanks(behind) == end);
}

static int is_column_read(Scanner *self, int column, Cell cell)
{
    static const Text upsert = {"upsert", 6};
    switch (column) {
    case IGNORED: return 1;
    case TENANT: return cell.state == NOTHING || are_equal(cell.text, self->tenant);
    case OPERATION: return cell.state == NOTHING || are_equal(cell.text, upsert);
    default:
        self->cells[column] = cell;
        return is_read(self, &self->fields[column], &self->cells[column]);
    }
}

static int read_delimited(Scanner *self, Text record)
{
    const char *at = record.at, *end = record.at + record.size;
    if (memchr(at, '\\', (size_t)record.size)) /* which would be escaped on its way */
        return 0;
    end -= end[-1] == '\r';
    for (int place = 0; place < self->column_count; place++) {
        Cell cell;
        if (place && *at++ != self->delimiter)
            return 0;
        if ((at = read_cell(self, at, end, &cell)) == NULL)
            return 0;
        if (!is_column_read(self, self->columns[place], cell))
            return 0;
        if (at == end)
            return place + 1 == self->column_count;
    }
    return 0;
}

/* ---- Records ---- */

static int is_negative(Cell cell)
{
    return cell.state == GIVEN && cell.text.at[0] == '-';
}

/* Times that are spelled alike are compared as texts. */
static int are_in_order(Cell start, Cell end)
{
    if (start.state != GIVEN || end.state != GIVEN)
        return 1;
    Text one = start.text, other = end.text;
    return one.size == other.size && one.at[10] == other.at[10]
        && (one.at[one.size - 1] == 'Z') == (other.at[other.size - 1] == 'Z')
        && memcmp(one.at, other.at, (size_t)one.size) < 0;
}

static int is_kept(const Scanner *self, const Check *check)
{
    Cell one = self->cells[check->one], other = self->cells[check->other];
    switch (check->rule) {
    case BEFORE: return are_in_order(one, other);
    case NOT_NEGATIVE:
        return !is_negative(one) || (other.state == GIVEN && !are_equal(other.text, check->equals));
    case ONE_OF: return (one.state == GIVEN) != (other.state == GIVEN);
    default: return one.state != GIVEN || other.state == GIVEN;
    }
}

static int is_sound(const Scanner *self)
{
    for (int place = 0; place < self->width; place++)
        if (self->fields[place].is_required && self->cells[place].state == ABSENT)
            return 0;
    for (int place = 0; place < self->check_count; place++)
        if (!is_kept(self, &self->checks[place]))
            return 0;
    Cell cluster = self->cells[self->cluster];
    return cluster.state == GIVEN && cluster.text.size <= KEY_BYTES;
}

/* Whether the record is clean: 1 with its cells filled, 0, or -1 with an exception. */
static int read_record(Scanner *self, Text record)
{
    if (record.size <= 1 || record.size > MAX_LINE)
        return 0;
    if (memchr(record.at, 0, (size_t)record.size) || !is_utf8(record))
        return 0;
    self->spelled.size = self->sorting.size = 0;
    /* A cell is unquoted, then spelled: no longer than it was each time, and a NUL. */
    if (!reserve(&self->spelled, 2 * (size_t)record.size + MAX_COLUMNS)
        || !reserve(&self->sorting, (size_t)record.size))
        return -1;
    for (int place = 0; place < self->width; place++)
        self->cells[place].state = ABSENT;
    int is_read = self->delimiter ? read_delimited(self, record) : read_json(self, record);
    return is_read && is_sound(self);
}

static const Text NULL_TEXT = {"\\N", 2};

static Text travelling(Cell cell)
{
    return cell.state == GIVEN ? cell.text : NULL_TEXT;
}

/* ---- What ties rows together: the digests of ties.py. ---- */

static uint32_t crc_table[256];

static void fill_crc_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? 0xEDB88320u ^ (crc >> 1) : crc >> 1;
        crc_table[byte] = crc;
    }
}

/* CRC-32 and Adler-32, whose sums fit 32 bits for so many bytes. */
static uint64_t digest(Text text)
{
    uint32_t crc = 0xFFFFFFFFu, low = 1, high = 0;
    for (Py_ssize_t at = 0; at < text.size; at++) {
        unsigned char byte = (unsigned char)text.at[at];
        crc = crc_table[(crc ^ byte) & 0xFF] ^ (crc >> 8);
        low += byte;
        high += low;
        if (at % ADLER_BYTES == ADLER_BYTES - 1) {
            low %= ADLER_PRIME;
            high %= ADLER_PRIME;
        }
    }
    uint32_t adler = high % ADLER_PRIME << 16 | low % ADLER_PRIME;
    return (uint64_t)(crc ^ 0xFFFFFFFFu) << 32 | adler;
}

/* ---- Rows ---- */

typedef struct {
    uint64_t line, offset;
} Place;

static int put_entry(Scanner *self, Place place, uint32_t mask, size_t length, Text key)
{
    Buffer *index = &self->index;
    static const char zeros[KEY_BYTES];
    if (!reserve(index, ENTRY_BYTES))
        return 0;
    put_little_endian(index, place.line, 8);
    put_little_endian(index, place.offset, 8);
    put_little_endian(index, mask, 4);
    put_little_endian(index, length, 4);
    put(index, key.at, (size_t)key.size);
    put(index, zeros, (size_t)(KEY_BYTES - key.size));
    return 1;
}

static int put_head(Scanner *self, Place place, uint32_t mask, size_t size)
{
    if (!reserve(&self->rows, size + 2 * NUMBER_BYTES + 3))
        return 0;
    put_decimal(&self->rows, place.line);
    put_sign(&self->rows, '\t');
    put_decimal(&self->rows, mask);
    return 1;
}

static int put_digests(Scanner *self, Text key, const Text *tied)
{
    if (self->tie_count == 0)
        return 1;
    if (!reserve(&self->digests, 8 * (size_t)(1 + self->tie_count)))
        return 0;
    put_little_endian(&self->digests, digest(key), 8);
    for (int at = 0; at < self->tie_count; at++)
        put_little_endian(&self->digests, digest(tied[at]), 8);
    return 1;
}

static int put_clean(Scanner *self, Place place)
{
    size_t start = self->rows.size, size = 0;
    uint32_t mask = 0;
    for (int at = 0; at < self->width; at++) {
        mask |= (uint32_t)(self->cells[at].state != ABSENT) << at;
        size += 1 + (size_t)travelling(self->cells[at]).size;
    }
    if (!put_head(self, place, mask, size))
        return 0;
    for (int at = 0; at < self->width; at++) {
        Text text = travelling(self->cells[at]);
        put_sign(&self->rows, '\t');
        put(&self->rows, text.at, (size_t)text.size);
    }
    put_sign(&self->rows, '\n');
    Text key = self->cells[self->cluster].text, tied[MAX_FIELDS];
    for (int at = 0; at < self->tie_count; at++)
        tied[at] = travelling(self->cells[self->ties[at]]);
    return put_entry(self, place, mask, self->rows.size - start, key) && put_digests(self, key, tied);
}

/* The cell of this number in a row's text; cells hold no bare tabs. */
static Text cell_of(Text row, int number)
{
    const char *at = row.at, *end = row.at + row.size;
    for (; number; number--) {
        const char *tab = memchr(at, '\t', (size_t)(end - at));
        if (tab == NULL)
            return (Text){end, 0};
        at = tab + 1;
    }
    const char *tab = memchr(at, '\t', (size_t)(end - at));
    return (Text){at, (tab ? tab : end) - at};
}

static int is_utf8_of(PyObject *text, Text *found)
{
    found->at = PyUnicode_AsUTF8AndSize(text, &found->size);
    return found->at != NULL;
}

/* A row that Python has made: its text, mask and segment key. */
static int put_given(Scanner *self, Place place, PyObject *row)
{
    if (!PyTuple_Check(row) || PyTuple_GET_SIZE(row) != 3) {
        PyErr_SetString(PyExc_TypeError, "expected a row or None");
        return 0;
    }
    Text text, key, tied[MAX_FIELDS];
    unsigned long mask = PyLong_AsUnsignedLong(PyTuple_GET_ITEM(row, 1));
    if (PyErr_Occurred() || !is_utf8_of(PyTuple_GET_ITEM(row, 0), &text)
        || !is_utf8_of(PyTuple_GET_ITEM(row, 2), &key))
        return 0;
    if (key.size > KEY_BYTES) {
        PyErr_SetString(PyExc_ValueError, "the segment key is too long");
        return 0;
    }
    size_t start = self->rows.size;
    if (!put_head(self, place, (uint32_t)mask, (size_t)text.size + 1))
        return 0;
    put_sign(&self->rows, '\t');
    put(&self->rows, text.at, (size_t)text.size);
    put_sign(&self->rows, '\n');
    for (int at = 0; at < self->tie_count; at++)
        tied[at] = cell_of(text, self->ties[at]);
    return put_entry(self, place, (uint32_t)mask, self->rows.size - start, key)
        && put_digests(self, key, tied);
}

static int put_closer(Scanner *self, Place place, PyObject *closer, PyObject *record)
{
    PyObject *row = PyObject_CallFunction(
        closer, "OKK", record, (unsigned long long)place.line, (unsigned long long)place.offset);
    if (row == NULL)
        return 0;
    int is_put = row == Py_None || put_given(self, place, row);
    Py_DECREF(row);
    return is_put;
}

static int scan_record(Scanner *self, Place place, PyObject *closer, PyObject *record)
{
    if (!PyBytes_CheckExact(record)) {
        PyErr_SetString(PyExc_TypeError, "expected records of bytes");
        return 0;
    }
    Text text = {PyBytes_AS_STRING(record), PyBytes_GET_SIZE(record)};
    int is_read = read_record(self, text);
    if (is_read < 0)
        return 0;
    return is_read ? put_clean(self, place) : put_closer(self, place, closer, record);
}

/* ---- The module ---- */

PyDoc_STRVAR(scan_doc,
"scan(records, lines, offsets, closer) -> (rows, index, digests)\n\n"
"Rows that are ready to stage, as scanning.scan gives them. `lines` and `offsets` are lists.\n"
"`closer(record, line, offset)` gives a row or None of a record that is not clean.");

static PyObject *Scanner_scan(Scanner *self, PyObject *arguments)
{
    PyObject *records, *lines, *offsets, *closer;
    if (!PyArg_ParseTuple(arguments, "O!O!O!O", &PyList_Type, &records, &PyList_Type, &lines,
                          &PyList_Type, &offsets, &closer))
        return NULL;
    self->rows.size = self->index.size = self->digests.size = 0;
    Py_ssize_t count = PyList_GET_SIZE(records);
    for (Py_ssize_t at = 0; at < count; at++) {
        if (PyList_GET_SIZE(records) != count || PyList_GET_SIZE(lines) != count
            || PyList_GET_SIZE(offsets) != count) {
            PyErr_SetString(PyExc_ValueError, "expected a line and an offset of each record");
            return NULL;
        }
        Place place = {PyLong_AsUnsignedLongLong(PyList_GET_ITEM(lines, at)),
                       PyLong_AsUnsignedLongLong(PyList_GET_ITEM(offsets, at))};
        if (PyErr_Occurred())
            return NULL;
        PyObject *record = PyList_GET_ITEM(records, at);
        Py_INCREF(record); /* `closer` may do anything */
        int is_scanned = scan_record(self, place, closer, record);
        Py_DECREF(record);
        if (!is_scanned)
            return NULL;
    }
    PyObject *rows = emptied(&self->rows), *index = emptied(&self->index);
    PyObject *digests = emptied(&self->digests);
    if (rows == NULL || index == NULL || digests == NULL) {
        Py_XDECREF(rows);
        Py_XDECREF(index);
        Py_XDECREF(digests);
        return NULL;
    }
    return Py_BuildValue("(NNN)", rows, index, digests);
}

static Text text_of(PyObject *bytes)
{
    return (Text){PyBytes_AS_STRING(bytes), PyBytes_GET_SIZE(bytes)};
}

static int has_all(PyObject *tuple, Py_ssize_t most)
{
    if (PyTuple_GET_SIZE(tuple) <= most)
        return 1;
    PyErr_Format(PyExc_ValueError, "more than %zd of a kind", most);
    return 0;
}

static int take_fields(Scanner *self, PyObject *fields)
{
    if (!has_all(fields, MAX_FIELDS))
        return 0;
    for (; self->width < PyTuple_GET_SIZE(fields); self->width++) {
        Field *field = &self->fields[self->width];
        PyObject *name;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(fields, self->width), "SiiinniO!", &name,
                              &field->kind, &field->is_required, &field->may_be_null, &field->most,
                              &field->decimals, &field->flag, &PyTuple_Type, &field->choices))
            return 0;
        field->name = text_of(name);
    }
    return 1;
}

static int is_place(const Scanner *self, int place)
{
    if (place >= 0 && place < self->width)
        return 1;
    PyErr_SetString(PyExc_ValueError, "expected the place of a field");
    return 0;
}

static int take_checks(Scanner *self, PyObject *checks)
{
    if (!has_all(checks, MAX_FIELDS))
        return 0;
    for (; self->check_count < PyTuple_GET_SIZE(checks); self->check_count++) {
        Check *check = &self->checks[self->check_count];
        PyObject *equals;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(checks, self->check_count), "iiiS", &check->rule,
                              &check->one, &check->other, &equals))
            return 0;
        if (!is_place(self, check->one) || !is_place(self, check->other))
            return 0;
        check->equals = text_of(equals);
    }
    return 1;
}

static int take_ties(Scanner *self, PyObject *ties)
{
    if (!has_all(ties, MAX_FIELDS))
        return 0;
    for (; self->tie_count < PyTuple_GET_SIZE(ties); self->tie_count++) {
        int place = (int)PyLong_AsLong(PyTuple_GET_ITEM(ties, self->tie_count));
        if (PyErr_Occurred() || !is_place(self, place))
            return 0;
        self->ties[self->tie_count] = place;
    }
    return 1;
}

static int take_columns(Scanner *self, PyObject *columns)
{
    if (!has_all(columns, MAX_COLUMNS))
        return 0;
    for (; self->column_count < PyTuple_GET_SIZE(columns); self->column_count++) {
        int column = (int)PyLong_AsLong(PyTuple_GET_ITEM(columns, self->column_count));
        if (PyErr_Occurred() || (column >= 0 && !is_place(self, column)))
            return 0;
        self->columns[self->column_count] = column;
    }
    return 1;
}

static int Scanner_init(Scanner *self, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"fields", "checks", "tenant", "cluster", "ties", "delimiter", "columns",
                            NULL};
    PyObject *fields, *checks, *tenant, *ties, *columns;
    if (self->kept != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "a scanner is made once");
        return -1;
    }
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O!O!SiO!cO!", names, &PyTuple_Type,
                                     &fields, &PyTuple_Type, &checks, &tenant, &self->cluster,
                                     &PyTuple_Type, &ties, &self->delimiter, &PyTuple_Type,
                                     &columns))
        return -1;
    self->kept = PyTuple_Pack(3, fields, checks, tenant);
    if (self->kept == NULL)
        return -1;
    self->tenant = text_of(tenant);
    if (!take_fields(self, fields) || !is_place(self, self->cluster) || !take_checks(self, checks)
        || !take_ties(self, ties) || !take_columns(self, columns))
        return -1;
    return 0;
}

static void Scanner_dealloc(Scanner *self)
{
    Buffer *buffers[] = {&self->spelled, &self->sorting, &self->rows, &self->index, &self->digests};
    for (size_t at = 0; at < sizeof buffers / sizeof *buffers; at++)
        PyMem_Free(buffers[at]->data);
    Py_XDECREF(self->kept);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef methods[] = {
    {"scan", (PyCFunction)Scanner_scan, METH_VARARGS, scan_doc},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject ScannerType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "headrace.pipeline._scanner.Scanner",
    .tp_basicsize = sizeof(Scanner),
    .tp_dealloc = (destructor)Scanner_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Scans the records of one load; scanning.py says what it is made of.",
    .tp_methods = methods,
    .tp_init = (initproc)Scanner_init,
    .tp_new = PyType_GenericNew,
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_scanner",
    .m_size = -1,
};

PyMODINIT_FUNC PyInit__scanner(void)
{
    if (PyType_Ready(&ScannerType) < 0)
        return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    fill_crc_table();
    static const struct { const char *name; int value; } numbers[] = {
        {"UUID", UUID}, {"TEXT", TEXT}, {"CHOICE", CHOICE}, {"MONEY", MONEY}, {"INTEGER", INTEGER},
        {"BOOLEAN", BOOLEAN}, {"TIMESTAMP", TIMESTAMP}, {"OBJECT", OBJECT}, {"CLOSED", CLOSED},
        {"BEFORE", BEFORE}, {"NOT_NEGATIVE", NOT_NEGATIVE}, {"ONE_OF", ONE_OF},
        {"ONLY_WITH", ONLY_WITH}, {"TENANT", TENANT}, {"OPERATION", OPERATION},
        {"IGNORED", IGNORED},
    };
    for (size_t at = 0; at < sizeof numbers / sizeof *numbers; at++)
        if (PyModule_AddIntConstant(module, numbers[at].name, numbers[at].value) < 0)
            return NULL;
    if (PyModule_AddObjectRef(module, "Scanner", (PyObject *)&ScannerType) < 0)
        return NULL;
    return module;
}
