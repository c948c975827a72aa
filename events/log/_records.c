/* The log's hot loops in C: records out of a fetched batch, and a record's bytes for the hash chain.
 *
 * Must do exactly what `events.log.records` and `events.log.chain` do in Python, which run where this was not compiled;
 * tests/unit/log/test_native.py holds one against the other. Knows the layout of a record (Kafka's message format 2,
 * KIP-98) and nothing of what is in it.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>
#include <structmember.h>

/* A record as read. Its headers stay bytes in `section` until someone asks for them. */
typedef struct {
    PyObject_HEAD
    PyObject *topic;     /* str */
    PyObject *key;       /* bytes or None */
    PyObject *value;     /* bytes or None */
    PyObject *section;   /* bytes: what `from` and `to` point into; NULL once `headers` is there */
    PyObject *headers;   /* tuple of (str, bytes); NULL until asked for */
    long long offset;
    long long timestamp;
    Py_ssize_t from, to;
    int count;           /* of headers */
    int partition;
} Record;

static int refuse(const char *problem) {
    PyErr_SetString(PyExc_ValueError, problem);
    return -1;
}

static int64_t signed_of(uint64_t zigzag) {
    return (int64_t)(zigzag >> 1) ^ -(int64_t)(zigzag & 1);
}

static int varint(const unsigned char **at, const unsigned char *end, int64_t *value) {
    uint64_t found = 0;
    int shift = 0;
    while (*at < end && shift < 63) {
        unsigned char byte = *(*at)++;
        found |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *value = signed_of(found);
            return 0;
        }
        shift += 7;
    }
    if (*at == end) return refuse("the batch ends within a number");
    if (**at > 1) return refuse("a number is longer than 64 bits");
    *value = signed_of(found | (uint64_t)*(*at)++ << 63);
    return 0;
}

/* The next field with its length in front; -1 is null, which only `nullable` fields may be. */
static int field(const unsigned char **at, const unsigned char *end, int nullable, const unsigned char **start,
                 int64_t *length) {
    if (varint(at, end, length) < 0) return -1;
    if (*length < (nullable ? -1 : 0) || (*length > 0 && *length > end - *at))
        return refuse("the batch ends within a field");
    *start = *at;
    if (*length > 0) *at += *length;
    return 0;
}

static PyObject *bytes_or_none(const unsigned char *start, int64_t length) {
    if (length < 0) Py_RETURN_NONE;
    return PyBytes_FromStringAndSize((const char *)start, (Py_ssize_t)length);
}

static int Record_clear(Record *self) {
    Py_CLEAR(self->topic);
    Py_CLEAR(self->key);
    Py_CLEAR(self->value);
    Py_CLEAR(self->section);
    Py_CLEAR(self->headers);
    return 0;
}

static void Record_dealloc(Record *self) {
    PyTypeObject *type = Py_TYPE(self);
    Record_clear(self);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static int Record_init(Record *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"topic", "partition", "offset", "timestamp", "key", "value", "headers", NULL};
    PyObject *topic, *key, *value, *headers;
    int partition;
    long long offset, timestamp;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "UiLLOOO", names, &topic, &partition, &offset, &timestamp, &key,
                                     &value, &headers))
        return -1;
    PyObject *given = PySequence_Tuple(headers);
    if (given == NULL) return -1;
    Record_clear(self);
    self->topic = Py_NewRef(topic);
    self->key = Py_NewRef(key);
    self->value = Py_NewRef(value);
    self->headers = given;
    self->partition = partition;
    self->offset = offset;
    self->timestamp = timestamp;
    return 0;
}

static PyObject *Record_headers(Record *self, void *closure) {
    (void)closure;
    if (self->headers == NULL) {
        if (self->section == NULL) return PyTuple_New(0);
        const unsigned char *at = (const unsigned char *)PyBytes_AS_STRING(self->section) + self->from;
        const unsigned char *end = (const unsigned char *)PyBytes_AS_STRING(self->section) + self->to;
        PyObject *made = PyTuple_New(self->count);
        if (made == NULL) return NULL;
        for (int i = 0; i < self->count; i++) {
            const unsigned char *name, *text;
            int64_t name_length, length;
            if (field(&at, end, 0, &name, &name_length) < 0 || field(&at, end, 1, &text, &length) < 0) goto failed;
            PyObject *header = PyUnicode_DecodeUTF8((const char *)name, (Py_ssize_t)name_length, "replace");
            if (header == NULL) goto failed;
            PyUnicode_InternInPlace(&header);
            PyObject *content = bytes_or_none(text, length);
            PyObject *pair = content == NULL ? NULL : PyTuple_Pack(2, header, content);
            Py_DECREF(header);
            Py_XDECREF(content);
            if (pair == NULL) goto failed;
            PyTuple_SET_ITEM(made, i, pair);
        }
        self->headers = made;
        Py_CLEAR(self->section);
        return Py_NewRef(made);
    failed:
        Py_DECREF(made);
        return NULL;
    }
    return Py_NewRef(self->headers);
}

/* The content of the last header of that name (as dict(headers) has it), borrowed pointers. Returns how many have it. */
static int find(Record *self, const char *wanted, Py_ssize_t wanted_length, const char **text, int64_t *length,
                PyObject **holder) {
    int found = 0;
    *holder = NULL;
    if (self->section != NULL) {
        const unsigned char *at = (const unsigned char *)PyBytes_AS_STRING(self->section) + self->from;
        const unsigned char *end = (const unsigned char *)PyBytes_AS_STRING(self->section) + self->to;
        for (int i = 0; i < self->count; i++) {
            const unsigned char *name, *content;
            int64_t name_length, content_length;
            if (field(&at, end, 0, &name, &name_length) < 0 || field(&at, end, 1, &content, &content_length) < 0)
                return -1;
            if (name_length == wanted_length && memcmp(name, wanted, (size_t)wanted_length) == 0) {
                *text = (const char *)content;
                *length = content_length;
                found++;
            }
        }
        return found;
    }
    for (Py_ssize_t i = 0; self->headers != NULL && i < PyTuple_GET_SIZE(self->headers); i++) {
        PyObject *pair = PyTuple_GET_ITEM(self->headers, i);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) continue;
        Py_ssize_t name_length;
        const char *name = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(pair, 0), &name_length);
        if (name == NULL) return -1;
        if (name_length != wanted_length || memcmp(name, wanted, (size_t)wanted_length) != 0) continue;
        PyObject *content = PyTuple_GET_ITEM(pair, 1);
        found++;
        *holder = content;
        if (PyBytes_Check(content)) {
            *text = PyBytes_AS_STRING(content);
            *length = PyBytes_GET_SIZE(content);
        } else {
            *text = NULL;
            *length = -1;
        }
    }
    return found;
}

static PyObject *Record_get(Record *self, PyObject *name) {
    Py_ssize_t wanted_length;
    const char *wanted = PyUnicode_AsUTF8AndSize(name, &wanted_length);
    if (wanted == NULL) return NULL;
    const char *text = NULL;
    int64_t length = -1;
    PyObject *holder;
    int found = find(self, wanted, wanted_length, &text, &length, &holder);
    if (found < 0) return NULL;
    if (!found) Py_RETURN_NONE;
    if (holder != NULL) return Py_NewRef(holder);
    return bytes_or_none((const unsigned char *)text, length);
}

/* A header's decimal number; -1 when it is absent. ValueError when it is no number. */
static PyObject *Record_number(Record *self, PyObject *name) {
    Py_ssize_t wanted_length;
    const char *wanted = PyUnicode_AsUTF8AndSize(name, &wanted_length);
    if (wanted == NULL) return NULL;
    const char *text = NULL;
    int64_t length = -1;
    PyObject *holder;
    int found = find(self, wanted, wanted_length, &text, &length, &holder);
    if (found < 0) return NULL;
    if (!found || length < 0) return PyLong_FromLong(-1);
    int64_t at = 0, number = 0;
    int negative = length > 1 && text[0] == '-';
    if (negative) at = 1;
    for (int64_t i = at; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || length > 18) goto other;
        number = number * 10 + (text[i] - '0');
    }
    if (length > at) return PyLong_FromLongLong(negative ? -number : number);
other: {
    PyObject *bytes = PyBytes_FromStringAndSize(text, (Py_ssize_t)length);
    if (bytes == NULL) return NULL;
    PyObject *made = PyNumber_Long(bytes); /* as int(bytes) has it, its error too */
    Py_DECREF(bytes);
    return made;
}
}

/* has(name, content) -> whether a header has just this content. */
static PyObject *Record_has(Record *self, PyObject *const *args, Py_ssize_t given) {
    if (given != 2 || !PyBytes_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "has takes a name and bytes");
        return NULL;
    }
    Py_ssize_t wanted_length, content_length = PyBytes_GET_SIZE(args[1]);
    const char *wanted = PyUnicode_AsUTF8AndSize(args[0], &wanted_length), *text = NULL;
    if (wanted == NULL) return NULL;
    int64_t length = -1;
    PyObject *holder;
    int found = find(self, wanted, wanted_length, &text, &length, &holder);
    if (found < 0) return NULL;
    return PyBool_FromLong(found && length == content_length &&
                           memcmp(text, PyBytes_AS_STRING(args[1]), (size_t)content_length) == 0);
}

/* As MAX_ATTRIBUTE_BYTES in events.language.bounds. */
enum { MOST_TEXT = 1024 };

/* So many names are looked for in one walk over a record's headers. */
enum { AT_ONCE = 16 };

/* What a walk has found of several names: as `find`; the length is 0 where there is none of the name. */
typedef struct {
    const char *texts[AT_ONCE];
    int64_t lengths[AT_ONCE];
    int counts[AT_ONCE];
} Found;

/* Looks for up to AT_ONCE names of a tuple, from `first` on. Returns how many these are. */
static int find_all(Record *self, PyObject *names, Py_ssize_t first, Found *found) {
    Py_ssize_t left_over = PyTuple_GET_SIZE(names) - first;
    int count = left_over < AT_ONCE ? (int)left_over : AT_ONCE;
    const char *wanted[AT_ONCE];
    Py_ssize_t sizes[AT_ONCE];
    for (int i = 0; i < count; i++) {
        wanted[i] = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(names, first + i), &sizes[i]);
        if (wanted[i] == NULL) return -1;
        found->texts[i] = NULL;
        found->lengths[i] = 0;
        found->counts[i] = 0;
    }
    if (self->section == NULL) {
        PyObject *holder;
        for (int i = 0; i < count; i++) {
            found->counts[i] = find(self, wanted[i], sizes[i], &found->texts[i], &found->lengths[i], &holder);
            if (found->counts[i] < 0) return -1;
        }
        return count;
    }
    const unsigned char *at = (const unsigned char *)PyBytes_AS_STRING(self->section) + self->from;
    const unsigned char *end = (const unsigned char *)PyBytes_AS_STRING(self->section) + self->to;
    for (int left = self->count; left > 0; left--) {
        const unsigned char *name, *content;
        int64_t name_length, content_length;
        if (field(&at, end, 0, &name, &name_length) < 0 || field(&at, end, 1, &content, &content_length) < 0) return -1;
        for (int i = 0; i < count; i++)
            if (name_length == sizes[i] && memcmp(name, wanted[i], (size_t)name_length) == 0) {
                found->texts[i] = (const char *)content;
                found->lengths[i] = content_length;
                found->counts[i]++;
            }
    }
    return count;
}

/* What becomes of the i-th of the names that were found; NULL without an exception: the whole answer is None. */
typedef PyObject *(*Convert)(const Found *found, int i);

/* The headers of these names, each converted. */
static PyObject *converted(Record *self, PyObject *names, Convert convert) {
    if (!PyTuple_Check(names)) {
        PyErr_SetString(PyExc_TypeError, "headers are looked for by a tuple of names");
        return NULL;
    }
    Py_ssize_t total = PyTuple_GET_SIZE(names);
    PyObject *made = PyTuple_New(total);
    if (made == NULL) return NULL;
    for (Py_ssize_t first = 0; first < total; first += AT_ONCE) {
        Found found;
        int count = find_all(self, names, first, &found);
        if (count < 0) {
            Py_DECREF(made);
            return NULL;
        }
        for (int i = 0; i < count; i++) {
            PyObject *one = convert(&found, i);
            if (one == NULL) {
                Py_DECREF(made);
                if (PyErr_Occurred()) return NULL;
                Py_RETURN_NONE;
            }
            PyTuple_SET_ITEM(made, first + i, one);
        }
    }
    return made;
}

static PyObject *text_of(const Found *found, int i) {
    const char *text = found->texts[i];
    int64_t length = found->lengths[i];
    if (length > MOST_TEXT || (length > 0 && memchr(text, 0, (size_t)length) != NULL)) return NULL;
    PyObject *decoded = PyUnicode_DecodeUTF8(text, length > 0 ? (Py_ssize_t)length : 0, NULL);
    if (decoded == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) PyErr_Clear();
    return decoded;
}

static PyObject *content_of(const Found *found, int i) {
    if (!found->counts[i]) Py_RETURN_NONE;
    return bytes_or_none((const unsigned char *)found->texts[i], found->lengths[i]);
}

/* texts(names) -> the headers' texts, "" for those that are absent; None when one is no UTF-8, has a NUL or is long. */
static PyObject *Record_texts(Record *self, PyObject *names) { return converted(self, names, text_of); }

/* contents(names) -> the headers' bytes, None for those that are absent. Of several of a name, the last. */
static PyObject *Record_contents(Record *self, PyObject *names) { return converted(self, names, content_of); }

/* repeated(names) -> the first of these names that several headers have; None when there is none. */
static PyObject *Record_repeated(Record *self, PyObject *names) {
    if (!PyTuple_Check(names)) {
        PyErr_SetString(PyExc_TypeError, "repeated takes a tuple of names");
        return NULL;
    }
    for (Py_ssize_t first = 0; first < PyTuple_GET_SIZE(names); first += AT_ONCE) {
        Found found;
        int count = find_all(self, names, first, &found);
        if (count < 0) return NULL;
        for (int i = 0; i < count; i++)
            if (found.counts[i] > 1) return Py_NewRef(PyTuple_GET_ITEM(names, first + i));
    }
    Py_RETURN_NONE;
}

static PyObject *Record_header_bytes(Record *self, void *closure) {
    (void)closure;
    Py_ssize_t size = 0;
    if (self->section != NULL) {
        const unsigned char *at = (const unsigned char *)PyBytes_AS_STRING(self->section) + self->from;
        const unsigned char *end = (const unsigned char *)PyBytes_AS_STRING(self->section) + self->to;
        for (int i = 0; i < self->count; i++) {
            const unsigned char *start;
            int64_t name, content;
            if (field(&at, end, 0, &start, &name) < 0 || field(&at, end, 1, &start, &content) < 0) return NULL;
            size += (Py_ssize_t)(name + (content > 0 ? content : 0));
        }
        return PyLong_FromSsize_t(size);
    }
    for (Py_ssize_t i = 0; self->headers != NULL && i < PyTuple_GET_SIZE(self->headers); i++) {
        PyObject *pair = PyTuple_GET_ITEM(self->headers, i);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) continue;
        Py_ssize_t name;
        if (PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(pair, 0), &name) == NULL) return NULL;
        PyObject *content = PyTuple_GET_ITEM(pair, 1);
        size += name + (PyBytes_Check(content) ? PyBytes_GET_SIZE(content) : 0);
    }
    return PyLong_FromSsize_t(size);
}

static PyMethodDef Record_methods[] = {
    {"texts", (PyCFunction)Record_texts, METH_O, "The texts of headers, empty if absent; None if one is no short text."},
    {"repeated", (PyCFunction)Record_repeated, METH_O, "The first of these names that several headers have, or None."},
    {"get", (PyCFunction)Record_get, METH_O, "A header's bytes; None if absent. The last of that name."},
    {"number", (PyCFunction)Record_number, METH_O, "A header's decimal number; -1 if absent."},
    {"contents", (PyCFunction)Record_contents, METH_O, "The bytes of headers, None for those that are absent."},
    {"has", (PyCFunction)(void (*)(void))Record_has, METH_FASTCALL, "Whether a header has just this content."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef Record_members[] = {
    {"topic", T_OBJECT, offsetof(Record, topic), READONLY, NULL},
    {"partition", T_INT, offsetof(Record, partition), READONLY, NULL},
    {"offset", T_LONGLONG, offsetof(Record, offset), READONLY, NULL},
    {"timestamp", T_LONGLONG, offsetof(Record, timestamp), READONLY, NULL},
    {"key", T_OBJECT, offsetof(Record, key), READONLY, NULL},
    {"value", T_OBJECT, offsetof(Record, value), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef Record_getset[] = {
    {"headers", (getter)Record_headers, NULL, "Name and content of each header.", NULL},
    {"header_bytes", (getter)Record_header_bytes, NULL, "Bytes of all headers, names included.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot Record_slots[] = {
    {Py_tp_dealloc, Record_dealloc},
    {Py_tp_init, Record_init},
    {Py_tp_methods, Record_methods},
    {Py_tp_members, Record_members},
    {Py_tp_getset, Record_getset},
    {0, NULL},
};

static PyType_Spec Record_spec = {
    "events.log._records.Record", sizeof(Record), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, Record_slots};

static PyObject *record_type;

/* read(kind, section, count, topic, partition, base_offset, first_timestamp, start) -> list of kind */
static PyObject *read_records(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *kind, *section, *topic;
    int count, partition;
    long long base, first, start;
    if (!PyArg_ParseTuple(args, "OSiUiLLL", &kind, &section, &count, &topic, &partition, &base, &first, &start))
        return NULL;
    if (!PyType_Check(kind) || !PyType_IsSubtype((PyTypeObject *)kind, (PyTypeObject *)record_type)) {
        PyErr_SetString(PyExc_TypeError, "the kind must be a subclass of Record");
        return NULL;
    }
    const unsigned char *begin = (const unsigned char *)PyBytes_AS_STRING(section);
    const unsigned char *at = begin, *end = begin + PyBytes_GET_SIZE(section);
    PyObject *made = PyList_New(0);
    if (made == NULL) return NULL;
    for (int i = 0; i < count; i++) {
        int64_t size, delta, number, key_length, value_length, headers, offset, timestamp;
        const unsigned char *key, *value;
        if (varint(&at, end, &size) < 0) goto failed;
        if (size < 1 || size > end - at) {
            refuse("the batch ends within a record");
            goto failed;
        }
        const unsigned char *stop = at + size;
        at++; /* attributes: none are defined */
        if (varint(&at, stop, &delta) < 0 || varint(&at, stop, &number) < 0) goto failed;
        if (field(&at, stop, 1, &key, &key_length) < 0 || field(&at, stop, 1, &value, &value_length) < 0) goto failed;
        if (varint(&at, stop, &headers) < 0) goto failed;
        if (headers < 0 || headers > stop - at) {
            refuse("a record has an impossible number of headers");
            goto failed;
        }
        const unsigned char *from = at;
        for (int64_t h = 0; h < headers; h++) {
            const unsigned char *skipped;
            int64_t length;
            if (field(&at, stop, 0, &skipped, &length) < 0 || field(&at, stop, 1, &skipped, &length) < 0) goto failed;
        }
        if (at != stop) {
            refuse("a record is longer than its fields");
            goto failed;
        }
        if (__builtin_add_overflow(base, number, &offset)) {
            refuse("a record's offset is out of range");
            goto failed;
        }
        if (__builtin_add_overflow(first, delta, &timestamp)) {
            refuse("a record's timestamp is out of range");
            goto failed;
        }
        if (offset < start) continue;
        Record *record = (Record *)((PyTypeObject *)kind)->tp_alloc((PyTypeObject *)kind, 0);
        if (record == NULL) goto failed;
        record->topic = Py_NewRef(topic);
        record->section = Py_NewRef(section);
        record->partition = partition;
        record->offset = offset;
        record->timestamp = timestamp;
        record->from = from - begin;
        record->to = stop - begin;
        record->count = (int)headers;
        record->key = bytes_or_none(key, key_length);
        record->value = bytes_or_none(value, value_length);
        int failed = record->key == NULL || record->value == NULL || PyList_Append(made, (PyObject *)record) < 0;
        Py_DECREF(record);
        if (failed) goto failed;
    }
    if (at != end) {
        refuse("the batch is longer than its records");
        goto failed;
    }
    return made;
failed:
    Py_DECREF(made);
    return NULL;
}

static char *put_length(char *at, Py_ssize_t length) {
    uint32_t n = (uint32_t)length;
    at[0] = (char)(n >> 24), at[1] = (char)(n >> 16), at[2] = (char)(n >> 8), at[3] = (char)n;
    return at + 4;
}

/* content(key, value, headers) -> bytes: see events.log.chain */
static PyObject *content(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *key, *value, *given;
    if (!PyArg_ParseTuple(args, "SSO", &key, &value, &given)) return NULL;
    PyObject *headers = PySequence_Fast(given, "headers must be a sequence");
    if (headers == NULL) return NULL;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(headers), size = PyBytes_GET_SIZE(key) + PyBytes_GET_SIZE(value);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *pair = PySequence_Fast_GET_ITEM(headers, i);
        Py_ssize_t length;
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 || !PyBytes_Check(PyTuple_GET_ITEM(pair, 1)) ||
            !PyUnicode_Check(PyTuple_GET_ITEM(pair, 0))) {
            PyErr_SetString(PyExc_TypeError, "a header is a tuple of str and bytes");
            goto failed;
        }
        if (PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(pair, 0), &length) == NULL) goto failed;
        size += length + PyBytes_GET_SIZE(PyTuple_GET_ITEM(pair, 1));
    }
    Py_ssize_t parts = 2 + 2 * count;
    PyObject *made = PyBytes_FromStringAndSize(NULL, 4 * (parts + 1) + size);
    if (made == NULL) goto failed;
    char *lengths = PyBytes_AS_STRING(made), *text = lengths + 4 * (parts + 1);
    lengths = put_length(lengths, parts);
    PyObject *first[2] = {key, value};
    for (int i = 0; i < 2; i++) {
        lengths = put_length(lengths, PyBytes_GET_SIZE(first[i]));
        memcpy(text, PyBytes_AS_STRING(first[i]), (size_t)PyBytes_GET_SIZE(first[i]));
        text += PyBytes_GET_SIZE(first[i]);
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *pair = PySequence_Fast_GET_ITEM(headers, i), *body = PyTuple_GET_ITEM(pair, 1);
        Py_ssize_t length;
        const char *name = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(pair, 0), &length);
        lengths = put_length(lengths, length);
        memcpy(text, name, (size_t)length);
        text += length;
        lengths = put_length(lengths, PyBytes_GET_SIZE(body));
        memcpy(text, PyBytes_AS_STRING(body), (size_t)PyBytes_GET_SIZE(body));
        text += PyBytes_GET_SIZE(body);
    }
    Py_DECREF(headers);
    return made;
failed:
    Py_DECREF(headers);
    return NULL;
}

/* A header, or a piece of one, by its bytes. */
typedef struct {
    const char *name, *text;
    Py_ssize_t name_length, length;
} Header;

enum { MOST_HEADERS = 32, NUMBER = 10 };

static char *put_varint(char *at, int64_t value) {
    uint64_t left = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    while (left > 0x7f) {
        *at++ = (char)(left | 0x80);
        left >>= 7;
    }
    *at++ = (char)left;
    return at;
}

static char *put(char *at, const char *text, Py_ssize_t length) {
    memcpy(at, text, (size_t)length);
    return at + length;
}

static int pair_of(PyObject *pair, Header *header) {
    PyObject *text = PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2 ? PyTuple_GET_ITEM(pair, 1) : NULL;
    if (text == NULL || !PyUnicode_Check(PyTuple_GET_ITEM(pair, 0)) || !(PyBytes_Check(text) || PyUnicode_Check(text))) {
        PyErr_SetString(PyExc_TypeError, "a header is a tuple of str and either bytes or str");
        return -1;
    }
    header->name = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(pair, 0), &header->name_length);
    if (header->name == NULL) return -1;
    if (PyUnicode_Check(text)) {
        header->text = PyUnicode_AsUTF8AndSize(text, &header->length);
    } else {
        header->text = PyBytes_AS_STRING(text);
        header->length = PyBytes_GET_SIZE(text);
    }
    return header->text == NULL ? -1 : 0;
}

/* encode(previous, key, value, headers) -> (previous + content, the record behind its offset, but for its last header).
 *
 * The number of headers that is written counts the hash's too, which the caller appends. */
static PyObject *encode(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    if (given != 4 || !PyBytes_Check(args[0]) || !PyBytes_Check(args[1]) || !PyBytes_Check(args[2]) ||
        !PyList_Check(args[3]) || PyList_GET_SIZE(args[3]) > MOST_HEADERS) {
        PyErr_SetString(PyExc_TypeError, "encode takes three bytes and a list of at most 32 headers");
        return NULL;
    }
    Header headers[MOST_HEADERS];
    Py_ssize_t count = PyList_GET_SIZE(args[3]);
    Py_ssize_t key_length = PyBytes_GET_SIZE(args[1]), value_length = PyBytes_GET_SIZE(args[2]);
    Py_ssize_t size = key_length + value_length, before = PyBytes_GET_SIZE(args[0]), parts = 2 + 2 * count;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (pair_of(PyList_GET_ITEM(args[3], i), &headers[i]) < 0) return NULL;
        size += headers[i].name_length + headers[i].length;
    }
    PyObject *hashed = PyBytes_FromStringAndSize(NULL, before + 4 * (parts + 1) + size);
    PyObject *tail = PyBytes_FromStringAndSize(NULL, size + NUMBER * (parts + 1));
    if (hashed == NULL || tail == NULL) goto failed;
    char *lengths = put(PyBytes_AS_STRING(hashed), PyBytes_AS_STRING(args[0]), before);
    char *text = lengths + 4 * (parts + 1), *at = PyBytes_AS_STRING(tail);
    lengths = put_length(lengths, parts);
    for (int i = 1; i < 3; i++) {
        Py_ssize_t length = PyBytes_GET_SIZE(args[i]);
        lengths = put_length(lengths, length);
        text = put(text, PyBytes_AS_STRING(args[i]), length);
        at = put(put_varint(at, length), PyBytes_AS_STRING(args[i]), length);
    }
    at = put_varint(at, count + 1);
    for (Py_ssize_t i = 0; i < count; i++) {
        Header *header = &headers[i];
        lengths = put_length(put_length(lengths, header->name_length), header->length);
        text = put(put(text, header->name, header->name_length), header->text, header->length);
        at = put(put_varint(at, header->name_length), header->name, header->name_length);
        at = put(put_varint(at, header->length), header->text, header->length);
    }
    if (_PyBytes_Resize(&tail, at - PyBytes_AS_STRING(tail)) < 0) goto failed;
    PyObject *made = PyTuple_Pack(2, hashed, tail);
    Py_DECREF(hashed);
    Py_DECREF(tail);
    return made;
failed:
    Py_XDECREF(hashed);
    Py_XDECREF(tail);
    return NULL;
}

/* section(tails, deltas) -> the records of a batch: each tail with its length, timestamp and offset in front. */
static PyObject *section(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *tails, *deltas;
    if (!PyArg_ParseTuple(args, "O!O!", &PyList_Type, &tails, &PyList_Type, &deltas)) return NULL;
    Py_ssize_t count = PyList_GET_SIZE(tails), size = 0;
    if (PyList_GET_SIZE(deltas) != count) {
        PyErr_SetString(PyExc_ValueError, "each record has a timestamp");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!PyBytes_Check(PyList_GET_ITEM(tails, i))) {
            PyErr_SetString(PyExc_TypeError, "a tail is bytes");
            return NULL;
        }
        size += PyBytes_GET_SIZE(PyList_GET_ITEM(tails, i)) + 3 * NUMBER + 1;
    }
    PyObject *made = PyBytes_FromStringAndSize(NULL, size);
    if (made == NULL) return NULL;
    char *at = PyBytes_AS_STRING(made);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *tail = PyList_GET_ITEM(tails, i);
        int64_t delta = PyLong_AsLongLong(PyList_GET_ITEM(deltas, i));
        if (delta == -1 && PyErr_Occurred()) {
            Py_DECREF(made);
            return NULL;
        }
        char front[1 + 2 * NUMBER], *end = front;
        *end++ = 0; /* attributes */
        end = put_varint(put_varint(end, delta), i);
        at = put_varint(at, (end - front) + PyBytes_GET_SIZE(tail));
        at = put(put(at, front, end - front), PyBytes_AS_STRING(tail), PyBytes_GET_SIZE(tail));
    }
    if (_PyBytes_Resize(&made, at - PyBytes_AS_STRING(made)) < 0) return NULL;
    return made;
}

/* Kafka's hash of keys: org.apache.kafka.common.utils.Utils.murmur2 */
static PyObject *murmur2(PyObject *module, PyObject *bytes) {
    (void)module;
    if (!PyBytes_Check(bytes)) {
        PyErr_SetString(PyExc_TypeError, "murmur2 takes bytes");
        return NULL;
    }
    const unsigned char *data = (const unsigned char *)PyBytes_AS_STRING(bytes);
    Py_ssize_t length = PyBytes_GET_SIZE(bytes), whole = length / 4 * 4;
    const uint32_t m = 0x5bd1e995;
    uint32_t h = 0x9747b28c ^ (uint32_t)length;
    for (Py_ssize_t i = 0; i < whole; i += 4) {
        uint32_t k = data[i] | (uint32_t)data[i + 1] << 8 | (uint32_t)data[i + 2] << 16 | (uint32_t)data[i + 3] << 24;
        k *= m;
        k ^= k >> 24;
        k *= m;
        h = (h * m) ^ k;
    }
    if (length - whole >= 3) h ^= (uint32_t)data[whole + 2] << 16;
    if (length - whole >= 2) h ^= (uint32_t)data[whole + 1] << 8;
    if (length - whole >= 1) h = (h ^ data[whole]) * m;
    h ^= h >> 13;
    h *= m;
    h ^= h >> 15;
    return PyLong_FromUnsignedLong(h);
}

static const char *behind_space(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) at++;
    return at;
}

/* The end of the string that begins behind a quote: its closing quote, or `end`. Notes whether it has an escape. */
static const char *end_of_string(const char *at, const char *end, int *escaped) {
    while (at < end && *at != '"') {
        if (*at == '\\') *escaped = 1, at++;
        at++;
    }
    return at < end ? at : end;
}

/* may_repeat(json) -> whether a key may stand twice in one object. True also where this is not looked at closely: keys
 * with escapes, objects with very many keys, deep nesting. Of what is no JSON, anything. */
enum { MOST_DEPTH = 128, MOST_KEYS = 512, MOST_COMPARED = 64 };

static PyObject *may_repeat(PyObject *module, PyObject *json) {
    (void)module;
    if (!PyBytes_Check(json)) {
        PyErr_SetString(PyExc_TypeError, "may_repeat takes bytes");
        return NULL;
    }
    const char *at = PyBytes_AS_STRING(json), *end = at + PyBytes_GET_SIZE(json);
    struct { const char *text; Py_ssize_t length; } keys[MOST_KEYS];
    int first[MOST_DEPTH], depth = 0, count = 0; /* each open object's first key */
    while (at < end) {
        char c = *at++;
        if (c == '{') {
            if (depth == MOST_DEPTH) Py_RETURN_TRUE;
            first[depth++] = count;
        } else if (c == '}') {
            if (depth == 0) Py_RETURN_FALSE;
            count = first[--depth];
        } else if (c == '"') {
            const char *text = at;
            int escaped = 0;
            at = end_of_string(at, end, &escaped);
            if (at == end) Py_RETURN_FALSE;
            Py_ssize_t length = at++ - text;
            const char *next = behind_space(at, end);
            if (next == end || *next != ':') continue;
            if (escaped || depth == 0 || count == MOST_KEYS || count - first[depth - 1] == MOST_COMPARED) Py_RETURN_TRUE;
            for (int i = first[depth - 1]; i < count; i++) {
                if (keys[i].length == length && memcmp(keys[i].text, text, (size_t)length) == 0) Py_RETURN_TRUE;
            }
            keys[count].text = text;
            keys[count++].length = length;
        }
    }
    Py_RETURN_FALSE;
}

/* member(json, name) -> the text of a member of a valid JSON object, the last of that name; None if there is none, and
 * where a name has an escape. */
static PyObject *member(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    if (given != 2 || !PyBytes_Check(args[0]) || !PyBytes_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "member takes a JSON text and a name, both bytes");
        return NULL;
    }
    const char *at = PyBytes_AS_STRING(args[0]), *end = at + PyBytes_GET_SIZE(args[0]), *from = NULL, *to = NULL;
    const char *wanted = PyBytes_AS_STRING(args[1]);
    Py_ssize_t length = PyBytes_GET_SIZE(args[1]);
    at = behind_space(at, end);
    if (at == end || *at++ != '{') Py_RETURN_NONE;
    for (;;) {
        at = behind_space(at, end);
        if (at == end || *at != '"') break; /* the object ends, or is empty */
        const char *name = ++at;
        int escaped = 0;
        at = end_of_string(at, end, &escaped);
        if (at == end || escaped) Py_RETURN_NONE;
        int same = at - name == length && memcmp(name, wanted, (size_t)length) == 0;
        at = behind_space(at + 1, end);
        if (at == end || *at++ != ':') Py_RETURN_NONE;
        const char *value = at = behind_space(at, end);
        for (Py_ssize_t depth = 0; at < end; at++) {
            if (*at == '"') {
                at = end_of_string(at + 1, end, &escaped);
                if (at == end) Py_RETURN_NONE;
            } else if (*at == '{' || *at == '[') {
                depth++;
            } else if (*at == '}' || *at == ']') {
                if (depth-- == 0) break;
            } else if (*at == ',' && depth == 0) {
                break;
            }
        }
        if (at == end) Py_RETURN_NONE;
        if (same) {
            from = value;
            to = at;
            while (to > from && behind_space(to - 1, to) == to) to--;
        }
        if (*at++ != ',') break;
    }
    if (from == NULL) Py_RETURN_NONE;
    return PyBytes_FromStringAndSize(from, to - from);
}

static PyMethodDef functions[] = {
    {"read", read_records, METH_VARARGS, "The records of a batch's (decompressed) section, from an offset on."},
    {"content", content, METH_VARARGS, "A record's bytes for the hash chain."},
    {"encode", (PyCFunction)(void (*)(void))encode, METH_FASTCALL, "A record for the hash chain and for a batch."},
    {"section", section, METH_VARARGS, "The records of a batch."},
    {"may_repeat", may_repeat, METH_O, "Whether a key may stand twice in one object of a JSON text."},
    {"member", (PyCFunction)(void (*)(void))member, METH_FASTCALL, "The text of a member of a JSON object."},
    {"murmur2", murmur2, METH_O, "Kafka's hash of keys."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_records", NULL, -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__records(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL) return NULL;
    record_type = PyType_FromSpec(&Record_spec);
    if (record_type == NULL || PyModule_AddObjectRef(module, "Record", record_type) < 0 ||
        PyModule_AddStringConstant(module, "SOURCE", SOURCE) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
