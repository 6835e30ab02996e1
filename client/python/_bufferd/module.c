/* The extension module bufferd._bufferd: types, key printing, the table of item types.
 *
 * It is the whole of Python's contact with libbufferd. It decides nothing: no retry, no fallback,
 * no policy; that is the Python package's part. Multi-phase initialization, all state in the module
 * object.
 */
#include "bufferd_module.h"

static PyModuleDef module_def;

struct module_state *module_state_of(PyObject *module) {
    return PyModule_GetState(module);
}

struct module_state *module_state_of_type(PyTypeObject *type) {
    if (!PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE))
        return NULL;
    PyObject *module = ((PyHeapTypeObject *)type)->ht_module;
    if (!module || !PyModule_Check(module) || PyModule_GetDef(module) != &module_def)
        return NULL;
    return PyModule_GetState(module);
}

/* None: the key would be longer than the wire allows. */
static PyObject *printed(int r, const char *key) {
    if (r < 0)
        Py_RETURN_NONE;
    return PyUnicode_FromString(key);
}

static PyObject *key_column(PyObject *module, PyObject *args) {
    unsigned long long source_id, start, stop;
    const char *tree, *branch;
    int verb;
    if (!PyArg_ParseTuple(args, "KsKKsi:key_column", &source_id, &tree, &start, &stop, &branch,
                          &verb))
        return NULL;
    char key[BUFFERD_KEY_BYTES];
    return printed(bufferd_key_column(key, source_id, tree, start, stop, branch, verb), key);
}

static PyObject *key_derived(PyObject *module, PyObject *args) {
    unsigned long long source_id;
    const char *name;
    if (!PyArg_ParseTuple(args, "Ks:key_derived", &source_id, &name))
        return NULL;
    char key[BUFFERD_KEY_BYTES];
    return printed(bufferd_key_derived(key, source_id, name), key);
}

static PyMethodDef module_methods[] = {
    {"key_column", key_column, METH_VARARGS,
     "key_column(source_id, tree, start, stop, branch, verb, /)\n--\n\nThe key of a column, or "
     "None when it would be too long."},
    {"key_derived", key_derived, METH_VARARGS,
     "key_derived(source_id, name, /)\n--\n\nThe key of an array that a client makes, or None."},
    {NULL, NULL, 0, NULL},
};

static int add_type(PyObject *module, PyTypeObject **typep, PyType_Spec *spec) {
    *typep = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *typep ? PyModule_AddType(module, *typep) : -1;
}

/* {"<f4": BUFFERD_FLOAT32, ...}; bytes are left to uint8, which has the same typestr. */
static PyObject *item_types(void) {
    PyObject *dict = PyDict_New();
    for (int i = BUFFERD_BOOL; dict && bufferd_item_bytes(i) > 0; i++) {
        PyObject *number = PyLong_FromLong(i);
        if (!number || PyDict_SetItemString(dict, bufferd_item_typestr(i), number) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(number);
    }
    return dict;
}

static int add_error(PyObject *module, struct module_state *state) {
    PyObject *errors = PyImport_ImportModule("bufferd.errors");
    if (!errors)
        return -1;
    state->error_type = PyObject_GetAttrString(errors, "Error");
    Py_DECREF(errors);
    return state->error_type ? 0 : -1;
}

static int module_exec(PyObject *module) {
    struct module_state *state = module_state_of(module);
    if (view_import_numpy() < 0 || add_error(module, state) < 0 ||
        add_type(module, &state->view_type, &view_spec) < 0 ||
        add_type(module, &state->tree_type, &tree_spec) < 0 ||
        add_type(module, &state->session_type, &session_spec) < 0 ||
        add_type(module, &state->grant_type, &grant_spec) < 0 ||
        add_type(module, &state->cache_type, &cache_spec) < 0)
        return -1;
    PyObject *types = item_types();
    int r = types ? PyModule_AddObjectRef(module, "ITEM_TYPES", types) : -1;
    Py_XDECREF(types);
    if (r < 0 || PyModule_AddStringConstant(module, "VERSION", BUFFERD_VERSION) < 0 ||
        PyModule_AddIntConstant(module, "DATA", BUFFERD_DATA) < 0 ||
        PyModule_AddIntConstant(module, "OFFSETS", BUFFERD_OFFSETS) < 0)
        return -1;
    return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
    struct module_state *state = module_state_of(module);
    Py_VISIT(state->view_type);
    Py_VISIT(state->tree_type);
    Py_VISIT(state->session_type);
    Py_VISIT(state->grant_type);
    Py_VISIT(state->cache_type);
    Py_VISIT(state->error_type);
    return 0;
}

static int module_clear(PyObject *module) {
    struct module_state *state = module_state_of(module);
    Py_CLEAR(state->view_type);
    Py_CLEAR(state->tree_type);
    Py_CLEAR(state->session_type);
    Py_CLEAR(state->grant_type);
    Py_CLEAR(state->cache_type);
    Py_CLEAR(state->error_type);
    return 0;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_bufferd",
    .m_doc = "libbufferd for Python.",
    .m_size = sizeof(struct module_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
};

PyMODINIT_FUNC PyInit__bufferd(void);
PyMODINIT_FUNC PyInit__bufferd(void) {
    return PyModuleDef_Init(&module_def);
}
