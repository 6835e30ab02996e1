/* View: a pinned buffer as a Python object.
 *
 * A view owns one pin and gives it back when it dies; it has no other way to be released, so memory
 * that some array still looks at cannot be taken away. It exports its bytes by the buffer protocol,
 * read-only. `array()` makes the ndarray that users see: its base is the view, so the pin lasts as
 * long as the last array, slice or awkward layout that uses the memory. NumPy asks the base for a
 * writable buffer before it lets anybody set `writeable`; the view refuses, so it stays read-only.
 *
 * This is the only file that uses NumPy's C API: arrays are made here at every hit, where the
 * detour over numpy.frombuffer would cost more than the hit itself.
 */
#include "bufferd_module.h"

#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include <numpy/arrayobject.h>
#pragma GCC diagnostic pop

int view_import_numpy(void) {
    import_array1(-1);
    return 0;
}

PyObject *view_new(const struct module_state *state, struct bufferd_view *view) {
    struct view_object *v = PyObject_New(struct view_object, state->view_type);
    if (!v) {
        bufferd_release(view);
        return NULL;
    }
    v->view = *view;
    return (PyObject *)v;
}

static void view_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    bufferd_release(&((struct view_object *)self)->view);
    PyObject_Free(self);
    Py_DECREF(type);
}

static int numpy_type(int item_type) {
    static const int types[] = {
        [BUFFERD_BYTES] = NPY_UINT8,     [BUFFERD_BOOL] = NPY_BOOL,
        [BUFFERD_INT8] = NPY_INT8,       [BUFFERD_UINT8] = NPY_UINT8,
        [BUFFERD_INT16] = NPY_INT16,     [BUFFERD_UINT16] = NPY_UINT16,
        [BUFFERD_INT32] = NPY_INT32,     [BUFFERD_UINT32] = NPY_UINT32,
        [BUFFERD_INT64] = NPY_INT64,     [BUFFERD_UINT64] = NPY_UINT64,
        [BUFFERD_FLOAT32] = NPY_FLOAT32, [BUFFERD_FLOAT64] = NPY_FLOAT64,
    };
    if (item_type < 0 || (size_t)item_type >= sizeof(types) / sizeof(types[0]))
        return NPY_UINT8;
    return types[item_type];
}

PyObject *view_array(PyObject *self) {
    struct bufferd_view *v = &((struct view_object *)self)->view;
    PyArray_Descr *descr = PyArray_DescrFromType(numpy_type(v->item_type));
    if (!descr)
        return NULL;
    npy_intp n_items = (npy_intp)(v->n_bytes / (uint64_t)PyDataType_ELSIZE(descr));
    PyObject *array =
        PyArray_NewFromDescr(&PyArray_Type, descr, 1, &n_items, NULL, (void *)(uintptr_t)v->data,
                             NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED, NULL);
    if (!array)
        return NULL;
    Py_INCREF(self);
    if (PyArray_SetBaseObject((PyArrayObject *)array, self) < 0) {
        Py_DECREF(array);
        return NULL;
    }
    return array;
}

static PyObject *view_array_method(PyObject *self, PyObject *ignored) {
    return view_array(self);
}

static int view_getbuffer(PyObject *self, Py_buffer *buffer, int flags) {
    struct bufferd_view *v = &((struct view_object *)self)->view;
    return PyBuffer_FillInfo(buffer, self, (void *)(uintptr_t)v->data, (Py_ssize_t)v->n_bytes, 1,
                             flags);
}

static PyObject *view_offset(PyObject *self, void *closure) {
    return PyLong_FromUnsignedLongLong(bufferd_view_offset(&((struct view_object *)self)->view));
}

static PyObject *view_nbytes(PyObject *self, void *closure) {
    return PyLong_FromUnsignedLongLong(((struct view_object *)self)->view.n_bytes);
}

static PyObject *view_record(PyObject *self, void *closure) {
    return PyLong_FromUnsignedLong(((struct view_object *)self)->view.record);
}

static PyObject *view_version(PyObject *self, void *closure) {
    return PyLong_FromUnsignedLongLong(((struct view_object *)self)->view.version);
}

static PyObject *view_item_type(PyObject *self, void *closure) {
    return PyLong_FromLong(((struct view_object *)self)->view.item_type);
}

static PyObject *view_repr(PyObject *self) {
    struct bufferd_view *v = &((struct view_object *)self)->view;
    return PyUnicode_FromFormat("<bufferd.View record=%u %s, %llu bytes>", v->record,
                                bufferd_item_name(v->item_type), (unsigned long long)v->n_bytes);
}

static PyMethodDef view_methods[] = {
    {"array", view_array_method, METH_NOARGS,
     "array()\n--\n\nA read-only one-dimensional ndarray over the shared memory, without a copy."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef view_getset[] = {
    {"offset", view_offset, NULL, "where the bytes lie in the arena, equal in all processes", NULL},
    {"nbytes", view_nbytes, NULL, "length in bytes", NULL},
    {"record", view_record, NULL, "number of the record", NULL},
    {"version", view_version, NULL, "version of the record", NULL},
    {"item_type", view_item_type, NULL, "number of the item type", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot view_slots[] = {
    {Py_tp_doc, "A pinned, read-only buffer in shared memory."},
    {Py_tp_dealloc, view_dealloc},
    {Py_tp_repr, view_repr},
    {Py_tp_methods, view_methods},
    {Py_tp_getset, view_getset},
    {Py_bf_getbuffer, view_getbuffer},
    {0, NULL},
};

PyType_Spec view_spec = {
    .name = "bufferd._bufferd.View",
    .basicsize = sizeof(struct view_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = view_slots,
};
