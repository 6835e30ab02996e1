/* What the files of the extension module share: its state, its types, and how each is made. */
#ifndef BUFFERD_MODULE_H
#define BUFFERD_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../../bufferd.h"

/* One per module object; the types keep the module alive, so objects may borrow it. */
struct module_state {
    PyTypeObject *view_type, *tree_type, *session_type, *grant_type, *cache_type; /* ref */
    PyObject *error_type;                                                         /* ref */
};

struct module_state *module_state_of(PyObject *module);
/* Of one of our types itself, not of a subclass. */
struct module_state *module_state_of_type(PyTypeObject *type);

extern PyType_Spec view_spec, tree_spec, session_spec, grant_spec, cache_spec;

/* NumPy's API is used in view.c alone. Return: 0, or -1 with an exception. */
int view_import_numpy(void);

struct view_object {
    PyObject_HEAD struct bufferd_view view; /* owned: a pin */
};

/* Takes the pin over, also when it fails. */
PyObject *view_new(const struct module_state *state, struct bufferd_view *view);
/* A read-only one-dimensional ndarray over the view's memory; it keeps the view. */
PyObject *view_array(PyObject *view);

/* Takes the tree over, also when it fails. */
PyObject *tree_new(const struct module_state *state, struct bufferd_tree *tree);

struct session_object {
    PyObject_HEAD struct bufferd *session; /* ref */
};

/* An instance of bufferd.Error (not raised). */
PyObject *error_new(const struct module_state *state, int code, const char *text);
/* Raise for an outcome of the library: OSError for negative codes that are errnos, else
 * bufferd.Error. Return: NULL. */
PyObject *error_raise(const struct module_state *state, int code, const struct bufferd_error *why);

/* Converter for "O&": seconds or None to milliseconds, None to -1. */
int timeout_convert(PyObject *object, void *msp);

/* Strings for a call that runs without the GIL; they live as long as `tuple`. */
struct key_list {
    PyObject *tuple;   /* owned */
    const char **keys; /* owned */
    size_t n_keys;
};
/* From any iterable of str. Return: 0, or -1 with an exception. */
int key_list_init(struct key_list *list, PyObject *iterable);
void key_list_deinit(struct key_list *list);

/* Methods of Session that live outside of session.c. */
PyObject *session_materialize(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *session_get(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *session_find(PyObject *self, PyObject *text);
PyObject *session_put(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *session_clear(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *session_prefetch(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *session_scope_status(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *session_scope_wait(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *session_scope_cancel(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *session_ls(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *session_status(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *session_evict(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *session_trim(PyObject *self, PyObject *args, PyObject *kwargs);

#define METHOD(name, function, text)                                                               \
    { name, (PyCFunction)(void (*)(void))(function), METH_VARARGS | METH_KEYWORDS, text }

#endif
