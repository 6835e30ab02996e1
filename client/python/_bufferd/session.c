/* Session: one connection to the daemon, and its files and trees.
 *
 * Every call that may wait runs without the GIL; the library is safe from all threads. The object
 * holds one reference to the library's session; views hold their own, so that arrays outlive it.
 * Which sessions exist, when to reconnect and what to do without a daemon is decided in Python.
 */
#include "bufferd_module.h"

static struct bufferd *session_of(PyObject *self) {
    return ((struct session_object *)self)->session;
}

static PyObject *session_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"socket", "client", "autostart", "daemon", "memory", "timeout", NULL};
    struct bufferd_options options = {0};
    int autostart = 1, timeout_ms = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|zzpzzO&:Session", names, &options.socket,
                                     &options.client, &autostart, &options.daemon, &options.memory,
                                     timeout_convert, &timeout_ms))
        return NULL;
    options.no_autostart = !autostart;
    options.timeout_ms = timeout_ms < 0 ? 0 : timeout_ms;

    struct session_object *self = (struct session_object *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    struct bufferd_error error = {0};
    int r;
    Py_BEGIN_ALLOW_THREADS r = bufferd_connect(&self->session, &options, &error);
    Py_END_ALLOW_THREADS if (r == 0) return (PyObject *)self;
    self->session = NULL;
    Py_DECREF(self);
    return error_raise(module_state_of_type(type), r, &error);
}

static void session_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    bufferd_unref(session_of(self));
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *session_alive(PyObject *self, void *closure) {
    return PyBool_FromLong(bufferd_is_alive(session_of(self)));
}

static PyObject *session_mine(PyObject *self, void *closure) {
    return PyBool_FromLong(bufferd_is_mine(session_of(self)));
}

static PyObject *session_open(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"fd", "label", "timeout", NULL};
    int fd, timeout_ms = -1, r;
    const char *label = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "iz|O&:open", names, &fd, &label,
                                     timeout_convert, &timeout_ms))
        return NULL;
    struct bufferd_source source;
    struct bufferd_error error = {0};
    Py_BEGIN_ALLOW_THREADS r =
        bufferd_open(session_of(self), &source, fd, label, timeout_ms, &error);
    Py_END_ALLOW_THREADS if (r != 0) return error_raise(module_state_of_type(Py_TYPE(self)), r,
                                                        &error);
    return Py_BuildValue("(KKy#)", (unsigned long long)source.source_id,
                         (unsigned long long)source.file_bytes, (const char *)source.uuid,
                         (Py_ssize_t)sizeof(source.uuid));
}

static PyObject *tree_name_tuple(const struct bufferd_tree_name *name) {
    return Py_BuildValue("(sssN)", name->path, name->class_name, name->title,
                         PyBool_FromLong(name->is_newest));
}

static PyObject *session_trees(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"source_id", "timeout", NULL};
    unsigned long long source_id;
    int timeout_ms = -1, r;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "K|O&:trees", names, &source_id, timeout_convert,
                                     &timeout_ms))
        return NULL;
    struct bufferd_tree_name *trees = NULL;
    size_t n_trees = 0;
    struct bufferd_error error = {0};
    Py_BEGIN_ALLOW_THREADS r =
        bufferd_trees(session_of(self), &trees, &n_trees, source_id, timeout_ms, &error);
    Py_END_ALLOW_THREADS if (r != 0) return error_raise(module_state_of_type(Py_TYPE(self)), r,
                                                        &error);

    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < n_trees; i++) {
        PyObject *row = tree_name_tuple(&trees[i]);
        if (!row || PyList_Append(list, row) < 0)
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    bufferd_tree_names_free(trees, n_trees);
    return list;
}

static PyObject *session_describe(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"source_id", "tree", "timeout", NULL};
    unsigned long long source_id;
    const char *name;
    int timeout_ms = -1, r;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Ks|O&:describe", names, &source_id, &name,
                                     timeout_convert, &timeout_ms))
        return NULL;
    struct bufferd_tree *tree = NULL;
    struct bufferd_error error = {0};
    Py_BEGIN_ALLOW_THREADS r =
        bufferd_describe(session_of(self), &tree, source_id, name, timeout_ms, &error);
    Py_END_ALLOW_THREADS if (r != 0) return error_raise(module_state_of_type(Py_TYPE(self)), r,
                                                        &error);
    return tree_new(module_state_of_type(Py_TYPE(self)), tree);
}

static PyMethodDef session_methods[] = {
    METHOD("open", session_open,
           "open(fd, label, timeout=None)\n--\n\nShow the daemon a file. Returns (source_id, "
           "file_bytes, uuid)."),
    METHOD("trees", session_trees,
           "trees(source_id, timeout=None)\n--\n\nTuples (path, class_name, title, is_newest)."),
    METHOD("describe", session_describe,
           "describe(source_id, tree, timeout=None)\n--\n\nThe index of a tree."),
    METHOD("materialize", session_materialize,
           "materialize(keys, wait=False, timeout=None)\n--\n\nMake buffers ready. Returns a list "
           "of View or Error, one per key, and how many were made."),
    METHOD("get", session_get,
           "get(keys, timeout=None)\n--\n\nWhat is ready already: a list of View or Error."),
    {"find", session_find, METH_O,
     "find(key, /)\n--\n\nThe View of a buffer that any process had made, or None; the daemon is "
     "not asked."},
    METHOD("put", session_put,
           "put(key, data, item_type, replace=False, timeout=None)\n--\n\nStore a contiguous "
           "buffer. Returns (View, was_present)."),
    METHOD("clear", session_clear,
           "clear(keys, force=False, timeout=None)\n--\n\nDone with these: tuples (outcome, "
           "n_bytes)."),
    METHOD("prefetch", session_prefetch,
           "prefetch(keys, nthreads=0, timeout=None)\n--\n\nLoad in the background. Returns the "
           "number of the scope."),
    METHOD("scope_status", session_scope_status, "scope_status(scope, timeout=None)\n--\n\n"),
    METHOD("scope_wait", session_scope_wait, "scope_wait(scope, timeout=None)\n--\n\n"),
    METHOD("scope_cancel", session_scope_cancel, "scope_cancel(scope, timeout=None)\n--\n\n"),
    METHOD("ls", session_ls, "ls(pattern=None, timeout=None)\n--\n\nOne dict per buffer."),
    METHOD("status", session_status, "status(timeout=None)\n--\n\nThe daemon's figures."),
    METHOD("evict", session_evict, "evict(pattern, timeout=None)\n--\n\nTake memory back."),
    METHOD("trim", session_trim,
           "trim(timeout=None)\n--\n\nGive free pages to the system; returns how many bytes."),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef session_getset[] = {
    {"alive", session_alive, NULL, "False once the daemon is known to be gone", NULL},
    {"mine", session_mine, NULL, "False in a child of fork()", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot session_slots[] = {
    {Py_tp_doc, "Session(socket=None, client=None, autostart=True, daemon=None, memory=None, "
                "timeout=5.0)\n--\n\nA connection to the daemon."},
    {Py_tp_new, session_tp_new},
    {Py_tp_dealloc, session_dealloc},
    {Py_tp_methods, session_methods},
    {Py_tp_getset, session_getset},
    {0, NULL},
};

PyType_Spec session_spec = {
    .name = "bufferd._bufferd.Session",
    .basicsize = sizeof(struct session_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = session_slots,
};
