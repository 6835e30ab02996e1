/* Session's methods that make, store, clear and prefetch buffers.
 *
 * Outcomes are per item: a list of View and Error objects, never an exception for one bad key. Only
 * a call that failed as a whole raises. Whatever happens while the results become Python objects,
 * each pin ends in a View or is given back.
 */
#include "bufferd_module.h"

static struct bufferd *session_of(PyObject *self) {
    return ((struct session_object *)self)->session;
}

static PyObject *result_object(const struct module_state *state, struct bufferd_result *result) {
    if (result->code == 0)
        return view_new(state, &result->view);
    return error_new(state, result->code, result->text);
}

/* All pins are taken over, also when it fails. */
static PyObject *results_list(const struct module_state *state, struct bufferd_result *results,
                              size_t n_results) {
    PyObject *list = PyList_New((Py_ssize_t)n_results);
    for (size_t i = 0; i < n_results; i++) {
        if (!list) {
            if (results[i].code == 0)
                bufferd_release(&results[i].view);
            continue;
        }
        PyObject *item = result_object(state, &results[i]);
        if (item)
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
        else
            Py_CLEAR(list);
    }
    return list;
}

/* materialize and get. */
static PyObject *grants(PyObject *self, PyObject *iterable, bool make, int flags, int timeout_ms) {
    const struct module_state *state = module_state_of_type(Py_TYPE(self));
    struct key_list keys;
    if (key_list_init(&keys, iterable) < 0)
        return NULL;
    struct bufferd_result *results = PyMem_Calloc(keys.n_keys + 1, sizeof(*results));
    if (!results) {
        key_list_deinit(&keys);
        return PyErr_NoMemory();
    }
    uint64_t n_made = 0;
    struct bufferd_error error = {0};
    int r;
    Py_BEGIN_ALLOW_THREADS if (make) r = bufferd_materialize(
        session_of(self), results, keys.keys, keys.n_keys, flags, &n_made, timeout_ms, &error);
    else r = bufferd_get(session_of(self), results, keys.keys, keys.n_keys, timeout_ms, &error);
    Py_END_ALLOW_THREADS PyObject *out =
        r == 0 ? results_list(state, results, keys.n_keys) : error_raise(state, r, &error);
    PyMem_Free(results);
    key_list_deinit(&keys);
    if (!out || !make)
        return out;
    return Py_BuildValue("(NK)", out, (unsigned long long)n_made);
}

PyObject *session_materialize(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"keys", "wait", "timeout", NULL};
    PyObject *keys;
    int wait = 0, timeout_ms = -1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|pO&:materialize", names, &keys, &wait,
                                     timeout_convert, &timeout_ms))
        return NULL;
    return grants(self, keys, true, wait ? BUFFERD_WAIT_MEMORY : 0, timeout_ms);
}

PyObject *session_get(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"keys", "timeout", NULL};
    PyObject *keys;
    int timeout_ms = -1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O&:get", names, &keys, timeout_convert,
                                     &timeout_ms))
        return NULL;
    return grants(self, keys, false, 0, timeout_ms);
}

PyObject *session_find(PyObject *self, PyObject *text) {
    const char *key = PyUnicode_AsUTF8(text);
    struct bufferd_view view;
    if (!key)
        return NULL;
    if (bufferd_pin_key(&view, session_of(self), key) != 0)
        Py_RETURN_NONE;
    return view_new(module_state_of_type(Py_TYPE(self)), &view);
}

PyObject *session_put(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"key", "data", "item_type", "replace", "timeout", NULL};
    const struct module_state *state = module_state_of_type(Py_TYPE(self));
    const char *key;
    Py_buffer data;
    int item_type, replace = 0, timeout_ms = -1, r;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sy*i|pO&:put", names, &key, &data, &item_type,
                                     &replace, timeout_convert, &timeout_ms))
        return NULL;
    struct bufferd_view view;
    bool was_present = false;
    struct bufferd_error error = {0};
    Py_BEGIN_ALLOW_THREADS r =
        bufferd_put(session_of(self), &view, &was_present, key, item_type, data.buf,
                    (uint64_t)data.len, replace ? BUFFERD_REPLACE : 0, timeout_ms, &error);
    Py_END_ALLOW_THREADS PyBuffer_Release(&data);
    if (r != 0)
        return error_raise(state, r, &error);
    PyObject *object = view_new(state, &view);
    if (!object)
        return NULL;
    return Py_BuildValue("(NN)", object, PyBool_FromLong(was_present));
}

PyObject *session_clear(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"keys", "force", "timeout", NULL};
    const struct module_state *state = module_state_of_type(Py_TYPE(self));
    PyObject *iterable;
    int force = 0, timeout_ms = -1, r;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|pO&:clear", names, &iterable, &force,
                                     timeout_convert, &timeout_ms))
        return NULL;
    struct key_list keys;
    if (key_list_init(&keys, iterable) < 0)
        return NULL;
    struct bufferd_clear_result *results = PyMem_Calloc(keys.n_keys + 1, sizeof(*results));
    if (!results) {
        key_list_deinit(&keys);
        return PyErr_NoMemory();
    }
    struct bufferd_error error = {0};
    Py_BEGIN_ALLOW_THREADS r =
        bufferd_clear(session_of(self), results, keys.keys, keys.n_keys, force, timeout_ms, &error);
    Py_END_ALLOW_THREADS PyObject *list =
        r == 0 ? PyList_New((Py_ssize_t)keys.n_keys) : error_raise(state, r, &error);
    for (size_t i = 0; list && i < keys.n_keys; i++) {
        PyObject *row =
            Py_BuildValue("(iK)", results[i].outcome, (unsigned long long)results[i].n_bytes);
        if (row)
            PyList_SET_ITEM(list, (Py_ssize_t)i, row);
        else
            Py_CLEAR(list);
    }
    PyMem_Free(results);
    key_list_deinit(&keys);
    return list;
}

PyObject *session_prefetch(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"keys", "nthreads", "timeout", NULL};
    PyObject *iterable;
    unsigned nthreads = 0;
    int timeout_ms = -1, r;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|IO&:prefetch", names, &iterable, &nthreads,
                                     timeout_convert, &timeout_ms))
        return NULL;
    struct key_list keys;
    if (key_list_init(&keys, iterable) < 0)
        return NULL;
    uint64_t scope = 0;
    struct bufferd_error error = {0};
    Py_BEGIN_ALLOW_THREADS r = bufferd_prefetch(session_of(self), &scope, keys.keys, keys.n_keys,
                                                nthreads, timeout_ms, &error);
    Py_END_ALLOW_THREADS key_list_deinit(&keys);
    if (r != 0)
        return error_raise(module_state_of_type(Py_TYPE(self)), r, &error);
    return PyLong_FromUnsignedLongLong(scope);
}

static PyObject *failures_list(const struct module_state *state, const struct bufferd_scope *s) {
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < s->n_failures; i++) {
        PyObject *error = error_new(state, s->failures[i].code, s->failures[i].text);
        PyObject *row =
            error ? Py_BuildValue("(KN)", (unsigned long long)s->failures[i].index, error) : NULL;
        if (!row || PyList_Append(list, row) < 0)
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    return list;
}

typedef int scope_call(struct bufferd *b, struct bufferd_scope *out, uint64_t scope, int timeout_ms,
                       struct bufferd_error *error);

static PyObject *scope_ask(PyObject *self, PyObject *args, PyObject *kwargs, scope_call *call) {
    static char *names[] = {"scope", "timeout", NULL};
    const struct module_state *state = module_state_of_type(Py_TYPE(self));
    unsigned long long number;
    int timeout_ms = -1, r;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "K|O&", names, &number, timeout_convert,
                                     &timeout_ms))
        return NULL;
    struct bufferd_scope scope = {0};
    struct bufferd_error error = {0};
    Py_BEGIN_ALLOW_THREADS r = call(session_of(self), &scope, number, timeout_ms, &error);
    Py_END_ALLOW_THREADS if (r != 0) return error_raise(state, r, &error);
    PyObject *failures = failures_list(state, &scope);
    PyObject *out = NULL;
    if (failures)
        out = Py_BuildValue("{sKsKsKsKsN}", "n_total", (unsigned long long)scope.n_total, "n_ready",
                            (unsigned long long)scope.n_ready, "n_failed",
                            (unsigned long long)scope.n_failed, "bytes_ready",
                            (unsigned long long)scope.bytes_ready, "failures", failures);
    bufferd_scope_deinit(&scope);
    return out;
}

PyObject *session_scope_status(PyObject *self, PyObject *args, PyObject *kwargs) {
    return scope_ask(self, args, kwargs, bufferd_scope_status);
}

PyObject *session_scope_wait(PyObject *self, PyObject *args, PyObject *kwargs) {
    return scope_ask(self, args, kwargs, bufferd_scope_wait);
}

PyObject *session_scope_cancel(PyObject *self, PyObject *args, PyObject *kwargs) {
    return scope_ask(self, args, kwargs, bufferd_scope_cancel);
}
