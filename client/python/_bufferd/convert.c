/* Between the library's plain C and Python objects: errors, timeouts, lists of keys.
 *
 * bufferd.Error is written in Python (it is an ordinary, picklable exception) and imported by the
 * module; here are the two ways to make one. Keys are copied into a tuple first: while a call runs
 * without the GIL, another thread could change the caller's list, but nobody can change the tuple,
 * whose strings hold the UTF-8 that the library reads.
 */
#include "bufferd_module.h"

#include <errno.h>
#include <string.h>

PyObject *error_new(const struct module_state *state, int code, const char *text) {
    if (code < 0)
        return PyObject_CallFunction(state->error_type, "iss", code, "errno",
                                     text && text[0] ? text : strerror(-code));
    return PyObject_CallFunction(state->error_type, "iss", code, bufferd_error_name(code),
                                 text ? text : "");
}

PyObject *error_raise(const struct module_state *state, int code, const struct bufferd_error *why) {
    if (code == -ENOMEM)
        return PyErr_NoMemory();
    PyObject *error = error_new(state, code, why->text);
    if (error) {
        PyErr_SetObject(state->error_type, error);
        Py_DECREF(error);
    }
    return NULL;
}

int timeout_convert(PyObject *object, void *msp) {
    if (object == Py_None) {
        *(int *)msp = -1;
        return 1;
    }
    double seconds = PyFloat_AsDouble(object);
    if (seconds == -1.0 && PyErr_Occurred())
        return 0;
    if (!(seconds >= 0)) {
        PyErr_SetString(PyExc_ValueError, "a timeout is a number of seconds, or None");
        return 0;
    }
    *(int *)msp = seconds > 2000000 ? 2000000000 : (int)(seconds * 1000 + 0.5);
    return 1;
}

int key_list_init(struct key_list *list, PyObject *iterable) {
    *list = (struct key_list){0};
    if (PyUnicode_Check(iterable)) {
        PyErr_SetString(PyExc_TypeError, "expected a list of keys, not one key");
        return -1;
    }
    list->tuple = PySequence_Tuple(iterable);
    if (!list->tuple)
        return -1;
    list->n_keys = (size_t)PyTuple_GET_SIZE(list->tuple);
    list->keys = PyMem_Calloc(list->n_keys + 1, sizeof(*list->keys));
    if (!list->keys) {
        PyErr_NoMemory();
        goto failed;
    }
    for (size_t i = 0; i < list->n_keys; i++) {
        PyObject *item = PyTuple_GET_ITEM(list->tuple, (Py_ssize_t)i);
        if (!PyUnicode_Check(item)) {
            PyErr_SetString(PyExc_TypeError, "a key is a str");
            goto failed;
        }
        Py_ssize_t n_bytes;
        const char *key = PyUnicode_AsUTF8AndSize(item, &n_bytes);
        if (!key)
            goto failed;
        if (strlen(key) != (size_t)n_bytes) {
            PyErr_SetString(PyExc_ValueError, "a key holds a NUL");
            goto failed;
        }
        list->keys[i] = key;
    }
    return 0;
failed:
    key_list_deinit(list);
    return -1;
}

void key_list_deinit(struct key_list *list) {
    PyMem_Free(list->keys);
    Py_CLEAR(list->tuple);
    list->keys = NULL;
}
