/* Tree: a tree's index as the daemon published it.
 *
 * The index is a pinned buffer; the columns are handed to Python as plain tuples, once, so that no
 * string of Python looks into the shared memory. The Python side makes its table from them.
 */
#include "bufferd_module.h"

struct tree_object {
    PyObject_HEAD struct bufferd_tree *tree; /* owned */
};

PyObject *tree_new(const struct module_state *state, struct bufferd_tree *tree) {
    struct tree_object *t = PyObject_New(struct tree_object, state->tree_type);
    if (!t) {
        bufferd_tree_free(tree);
        return NULL;
    }
    t->tree = tree;
    return (PyObject *)t;
}

static void tree_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    bufferd_tree_free(((struct tree_object *)self)->tree);
    PyObject_Free(self);
    Py_DECREF(type);
}

static struct bufferd_tree *tree_of(PyObject *self) {
    return ((struct tree_object *)self)->tree;
}

static PyObject *tree_path(PyObject *self, void *closure) {
    return PyUnicode_FromString(bufferd_tree_path(tree_of(self)));
}

/* Titles are what somebody typed: they need not be UTF-8. */
static PyObject *text_from(const char *text) {
    if (!text)
        Py_RETURN_NONE;
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "surrogateescape");
}

static PyObject *tree_title(PyObject *self, void *closure) {
    return text_from(bufferd_tree_title(tree_of(self)));
}

static PyObject *tree_kind(PyObject *self, void *closure) {
    return PyUnicode_FromString(bufferd_tree_kind(tree_of(self)));
}

static PyObject *tree_n_entries(PyObject *self, void *closure) {
    return PyLong_FromUnsignedLongLong(bufferd_tree_n_entries(tree_of(self)));
}

static PyObject *column_tuple(const struct bufferd_column *c) {
    return Py_BuildValue("(NNNNNNNiIKKKINN)", text_from(c->name), text_from(c->title),
                         text_from(c->class_name), text_from(c->type_name), text_from(c->reason),
                         text_from(c->counter), PyBool_FromLong(c->has_data), c->item_type,
                         c->n_per_entry, (unsigned long long)c->n_entries,
                         (unsigned long long)c->n_baskets, (unsigned long long)c->zip_bytes,
                         c->n_levels, PyBool_FromLong(c->is_string), PyBool_FromLong(c->is_member));
}

static PyObject *tree_columns(PyObject *self, PyObject *ignored) {
    struct bufferd_tree *t = tree_of(self);
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < bufferd_tree_n_columns(t); i++) {
        struct bufferd_column column;
        if (bufferd_tree_column(t, i, &column) != 0)
            continue;
        PyObject *row = column_tuple(&column);
        if (!row || PyList_Append(list, row) < 0)
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    return list;
}

static PyMethodDef tree_methods[] = {
    {"columns", tree_columns, METH_NOARGS,
     "columns()\n--\n\nTuples (name, title, class_name, type_name, reason, counter, has_data, "
     "item_type, n_per_entry, n_entries, n_baskets, zip_bytes, n_levels, is_string, is_member) in "
     "the tree's order."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef tree_getset[] = {
    {"path", tree_path, NULL, "canonical path with the cycle", NULL},
    {"title", tree_title, NULL, "title", NULL},
    {"kind", tree_kind, NULL, "\"TTree\" or \"RNTuple\"", NULL},
    {"n_entries", tree_n_entries, NULL, "number of entries", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot tree_slots[] = {
    {Py_tp_doc, "The index of a tree."},
    {Py_tp_dealloc, tree_dealloc},
    {Py_tp_methods, tree_methods},
    {Py_tp_getset, tree_getset},
    {0, NULL},
};

PyType_Spec tree_spec = {
    .name = "bufferd._bufferd.Tree",
    .basicsize = sizeof(struct tree_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = tree_slots,
};
