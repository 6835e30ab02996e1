/* Cache: the part of BufferCache that has to be quick, and Grant, what it remembers of a buffer.
 *
 * The table maps a key, as the caller spells it, to the daemon's key of the buffer and the (record,
 * version) where it was last. It holds no pin and so keeps nothing alive: a hit pins the record by
 * that name, which costs no system call, and fails when the daemon has taken the buffer back
 * meanwhile. Then the index is looked up, as another process may have had it made again. Only if that
 * fails too, and for a key that is not in the table, the Python class is asked (`_miss`), which
 * talks to the daemon and returns an array, or None.
 *
 * `key in cache` followed by `cache[key]` must not fail because of an eviction between the two. So
 * a successful `in` keeps its array in `held`, until that key is read, or for HELD_MS: whichever
 * operation comes first after that time drops them.
 *
 * (record, version) mean something to one session only; `_attach` with another one empties the
 * table.
 */
#include "bufferd_module.h"

#include <structmember.h>
#include <time.h>

enum { HELD_MS = 1000, MAX_HELD = 64 };

struct grant_object {
    PyObject_HEAD uint32_t record;
    uint64_t version; /* 0: known to be gone */
    uint64_t hash;    /* of the text */
    PyObject *text;   /* ref: a str, the daemon's key */
};

static void grant_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    Py_DECREF(((struct grant_object *)self)->text);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyType_Slot grant_slots[] = {{Py_tp_dealloc, grant_dealloc}, {0, NULL}};

PyType_Spec grant_spec = {
    .name = "bufferd._bufferd.Grant",
    .basicsize = sizeof(struct grant_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = grant_slots,
};

struct cache_object {
    PyObject_HEAD struct bufferd *session; /* ref, or NULL */
    PyObject *grants;                      /* owned: dict of key to Grant */
    PyObject *held;                        /* owned: dict of key to ndarray */
    PyObject *miss_name;                   /* owned: "_miss" */
    int64_t held_since_ms;
    const struct module_state *state; /* borrowed from the module, which the type keeps */
};

static PyObject *cache_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    struct cache_object *self = (struct cache_object *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    PyTypeObject *base = type;
    while (base && !module_state_of_type(base))
        base = base->tp_base;
    self->state = base ? module_state_of_type(base) : NULL;
    self->grants = PyDict_New();
    self->held = PyDict_New();
    self->miss_name = PyUnicode_InternFromString("_miss");
    if (!self->state || !self->grants || !self->held || !self->miss_name) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_SystemError, "not a type of this module");
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static int cache_traverse(PyObject *object, visitproc visit, void *arg) {
    struct cache_object *self = (struct cache_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->grants);
    Py_VISIT(self->held);
    return 0;
}

/* Emptied, not dropped: a finalizer may still call methods. */
static int cache_tp_clear(PyObject *object) {
    struct cache_object *self = (struct cache_object *)object;
    if (self->grants)
        PyDict_Clear(self->grants);
    if (self->held)
        PyDict_Clear(self->held);
    return 0;
}

static void cache_dealloc(PyObject *object) {
    struct cache_object *self = (struct cache_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_CLEAR(self->grants);
    Py_CLEAR(self->held);
    Py_CLEAR(self->miss_name);
    bufferd_unref(self->session);
    type->tp_free(object);
    Py_DECREF(type);
}

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The key was read, or is no longer wanted. */
static int drop_held(struct cache_object *self, PyObject *key) {
    if (now_ms() - self->held_since_ms > HELD_MS) {
        PyDict_Clear(self->held);
        return 0;
    }
    int r = PyDict_Contains(self->held, key);
    return r == 1 ? PyDict_DelItem(self->held, key) : r;
}

/* Pin it where it was last, else where the index says. */
static bool grant_pin(struct bufferd_view *vp, struct grant_object *grant, struct bufferd *b) {
    if (grant->version && bufferd_pin(vp, b, grant->record, grant->version) == 0)
        return true;
    bool is_there = bufferd_pin_hashed(vp, b, PyUnicode_AsUTF8(grant->text), grant->hash) == 0;
    grant->record = is_there ? vp->record : 0;
    grant->version = is_there ? vp->version : 0;
    return is_there;
}

/* An array of a known key whose buffer is there. NULL without an exception: a miss. */
static PyObject *hit(struct cache_object *self, PyObject *key) {
    PyObject *object = PyDict_GetItemWithError(self->grants, key);
    struct bufferd_view view;
    if (!object || !self->session ||
        !grant_pin(&view, (struct grant_object *)object, self->session))
        return NULL;
    PyObject *v = view_new(self->state, &view);
    if (!v)
        return NULL;
    PyObject *array = view_array(v);
    Py_DECREF(v);
    return array;
}

/* Hit or miss. Return: a new reference, None when there is nothing, NULL with an exception. */
static PyObject *find(struct cache_object *self, PyObject *key) {
    PyObject *array = hit(self, key);
    if (!array && !PyErr_Occurred())
        array = PyObject_CallMethodOneArg((PyObject *)self, self->miss_name, key);
    if (array && PyDict_GET_SIZE(self->held) > 0 && drop_held(self, key) < 0)
        Py_CLEAR(array);
    return array;
}

static PyObject *cache_subscript(PyObject *object, PyObject *key) {
    PyObject *array = find((struct cache_object *)object, key);
    if (array != Py_None)
        return array;
    Py_DECREF(array);
    PyErr_SetObject(PyExc_KeyError, key);
    return NULL;
}

static PyObject *cache_get(PyObject *object, PyObject *const *args, Py_ssize_t n_args) {
    if (n_args < 1 || n_args > 2) {
        PyErr_SetString(PyExc_TypeError, "get(key, default=None)");
        return NULL;
    }
    PyObject *array = find((struct cache_object *)object, args[0]);
    if (array != Py_None || n_args < 2)
        return array;
    Py_DECREF(array);
    return Py_NewRef(args[1]);
}

static int cache_contains(PyObject *object, PyObject *key) {
    struct cache_object *self = (struct cache_object *)object;
    PyObject *array = find(self, key);
    if (!array)
        return -1;
    if (array == Py_None) {
        Py_DECREF(array);
        return 0;
    }
    if (PyDict_GET_SIZE(self->held) >= MAX_HELD)
        PyDict_Clear(self->held);
    self->held_since_ms = now_ms();
    int r = PyDict_SetItem(self->held, key, array);
    Py_DECREF(array);
    return r < 0 ? -1 : 1;
}

static PyObject *cache_grant(PyObject *object, PyObject *args) {
    struct cache_object *self = (struct cache_object *)object;
    PyObject *key, *view, *text;
    if (!PyArg_ParseTuple(args, "OO!U:_grant", &key, self->state->view_type, &view, &text))
        return NULL;
    const struct bufferd_view *v = &((struct view_object *)view)->view;
    const char *utf8 = PyUnicode_AsUTF8(text); /* from now on the str keeps it */
    if (!utf8)
        return NULL;
    if (v->session != self->session)
        Py_RETURN_NONE; /* reconnected meanwhile: its numbers mean nothing here */
    struct grant_object *grant = PyObject_New(struct grant_object, self->state->grant_type);
    if (!grant)
        return NULL;
    grant->record = v->record;
    grant->version = v->version;
    grant->hash = bufferd_key_hash(utf8);
    grant->text = Py_NewRef(text);
    int r = PyDict_SetItem(self->grants, key, (PyObject *)grant);
    Py_DECREF(grant);
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *cache_peek(PyObject *object, PyObject *key) {
    PyObject *array = hit((struct cache_object *)object, key);
    if (array || PyErr_Occurred())
        return array;
    Py_RETURN_NONE;
}

static PyObject *cache_forget(PyObject *object, PyObject *key) {
    struct cache_object *self = (struct cache_object *)object;
    if (PyDict_GET_SIZE(self->held) > 0 && drop_held(self, key) < 0)
        return NULL;
    int r = PyDict_Contains(self->grants, key);
    if (r < 0 || (r == 1 && PyDict_DelItem(self->grants, key) < 0))
        return NULL;
    return PyBool_FromLong(r);
}

static PyObject *cache_attach(PyObject *object, PyObject *session) {
    struct cache_object *self = (struct cache_object *)object;
    struct bufferd *b = NULL;
    if (session != Py_None) {
        if (!PyObject_TypeCheck(session, self->state->session_type)) {
            PyErr_SetString(PyExc_TypeError, "expected a Session or None");
            return NULL;
        }
        b = ((struct session_object *)session)->session;
    }
    if (b != self->session) {
        PyDict_Clear(self->grants);
        struct bufferd *old = self->session;
        self->session = b ? bufferd_ref(b) : NULL;
        bufferd_unref(old);
    }
    Py_RETURN_NONE;
}

static PyObject *cache_granted(PyObject *object, PyObject *ignored) {
    return PyDict_Keys(((struct cache_object *)object)->grants);
}

static PyMethodDef cache_methods[] = {
    {"get", (PyCFunction)(void (*)(void))cache_get, METH_FASTCALL,
     "get(key, default=None, /)\n--\n\nThe array of a key, or the default."},
    {"_grant", cache_grant, METH_VARARGS,
     "_grant(key, view, text, /)\n--\n\nRemember a buffer; `text` is the daemon's key of it."},
    {"_peek", cache_peek, METH_O,
     "_peek(key, /)\n--\n\nThe array if it can be had without a word "
     "to the daemon, else None."},
    {"_forget", cache_forget, METH_O, "_forget(key, /)\n--\n\nTrue when it was known."},
    {"_attach", cache_attach, METH_O, "_attach(session, /)\n--\n\nUse this session from now on."},
    {"_granted", cache_granted, METH_NOARGS, "_granted()\n--\n\nThe keys in the table."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot cache_slots[] = {
    {Py_tp_doc, "The quick half of BufferCache."},
    {Py_tp_new, cache_tp_new},
    {Py_tp_dealloc, cache_dealloc},
    {Py_tp_traverse, cache_traverse},
    {Py_tp_clear, cache_tp_clear},
    {Py_tp_methods, cache_methods},
    {Py_mp_subscript, cache_subscript},
    {Py_sq_contains, cache_contains},
    {0, NULL},
};

PyType_Spec cache_spec = {
    .name = "bufferd._bufferd.Cache",
    .basicsize = sizeof(struct cache_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = cache_slots,
};
