/* Session's methods that look into the daemon and take memory back: ls, status, evict, trim. */
#include "bufferd_module.h"

static struct bufferd *session_of(PyObject *self) {
    return ((struct session_object *)self)->session;
}

static PyObject *raise(PyObject *self, int code, const struct bufferd_error *error) {
    return error_raise(module_state_of_type(Py_TYPE(self)), code, error);
}

static PyObject *entry_dict(const struct bufferd_entry *e) {
    return Py_BuildValue("{sssssssssKsKsKsKsKsK}", "key", e->key, "label", e->label, "state",
                         e->state, "item_type", bufferd_item_name(e->item_type), "nbytes",
                         (unsigned long long)e->n_bytes, "pins", (unsigned long long)e->n_pins,
                         "sessions", (unsigned long long)e->n_sessions, "hits",
                         (unsigned long long)e->n_hits, "age_ms", (unsigned long long)e->age_ms,
                         "idle_ms", (unsigned long long)e->idle_ms);
}

PyObject *session_ls(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"pattern", "timeout", NULL};
    const char *pattern = NULL;
    int timeout_ms = -1, r;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|zO&:ls", names, &pattern, timeout_convert,
                                     &timeout_ms))
        return NULL;
    struct bufferd_entry *entries = NULL;
    size_t n_entries = 0;
    struct bufferd_error error = {0};
    Py_BEGIN_ALLOW_THREADS r =
        bufferd_ls(session_of(self), &entries, &n_entries, pattern, timeout_ms, &error);
    Py_END_ALLOW_THREADS if (r != 0) return raise(self, r, &error);
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < n_entries; i++) {
        PyObject *row = entry_dict(&entries[i]);
        if (!row || PyList_Append(list, row) < 0)
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    bufferd_entries_free(entries, n_entries);
    return list;
}

PyObject *session_status(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"timeout", NULL};
    int timeout_ms = -1, r;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&:status", names, timeout_convert,
                                     &timeout_ms))
        return NULL;
    struct bufferd_figure *figures = NULL;
    size_t n_figures = 0;
    struct bufferd_error error = {0};
    Py_BEGIN_ALLOW_THREADS r =
        bufferd_status(session_of(self), &figures, &n_figures, timeout_ms, &error);
    Py_END_ALLOW_THREADS if (r != 0) return raise(self, r, &error);
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict && i < n_figures; i++) {
        const struct bufferd_figure *f = &figures[i];
        PyObject *value =
            f->text[0] ? PyUnicode_FromString(f->text) : PyLong_FromUnsignedLongLong(f->value);
        if (!value || PyDict_SetItemString(dict, f->name, value) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(value);
    }
    bufferd_figures_free(figures, n_figures);
    return dict;
}

PyObject *session_evict(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"pattern", "timeout", NULL};
    const char *pattern;
    int timeout_ms = -1, r;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s|O&:evict", names, &pattern, timeout_convert,
                                     &timeout_ms))
        return NULL;
    struct bufferd_evicted out = {0};
    struct bufferd_error error = {0};
    Py_BEGIN_ALLOW_THREADS r = bufferd_evict(session_of(self), &out, pattern, timeout_ms, &error);
    Py_END_ALLOW_THREADS if (r != 0) return raise(self, r, &error);
    return Py_BuildValue("{sKsKsKsK}", "n_freed", (unsigned long long)out.n_freed, "bytes_freed",
                         (unsigned long long)out.bytes_freed, "n_held",
                         (unsigned long long)out.n_held, "bytes_held",
                         (unsigned long long)out.bytes_held);
}

PyObject *session_trim(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"timeout", NULL};
    int timeout_ms = -1, r;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&:trim", names, timeout_convert, &timeout_ms))
        return NULL;
    uint64_t n_bytes = 0;
    struct bufferd_error error = {0};
    Py_BEGIN_ALLOW_THREADS r = bufferd_trim(session_of(self), &n_bytes, timeout_ms, &error);
    Py_END_ALLOW_THREADS if (r != 0) return raise(self, r, &error);
    return PyLong_FromUnsignedLongLong(n_bytes);
}
