/* What stands between a session and its answer, in one pass each; models/native.py says why.
 *
 * The Python road (models/envelope.py, models/decode.py) is the reference: the same features but
 * for rounding, the same regions to the bit. Nothing here keeps state between calls.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { THUMB = 32, CELLS = THUMB * THUMB, RANK = 4 };
/* models/native.py takes no helper that was built from a source with another record. */
enum { RECORD = 20 };

/* The loops over pixels, for whatever vector unit is there: 41 us a picture without, 22 with. */
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__) && __GNUC__ >= 12
#define VECTOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#elif defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__) && __GNUC__ >= 6
#define VECTOR __attribute__((target_clones("avx2", "default")))
#else
#define VECTOR
#endif

static void *refuse(const char *why) {
    PyErr_SetString(PyExc_ValueError, why);
    return NULL;
}

/* ---- the envelope ---- */

typedef struct {
    uint64_t sum, squares, middle, steps;
    uint8_t hardest[RANK]; /* the hardest step of a row, the largest of all rows first */
} Totals;

static void rank_in(uint8_t *hardest, uint8_t value) {
    for (int place = 0; place < RANK; place++)
        if (value > hardest[place]) {
            memmove(hardest + place + 1, hardest + place, RANK - 1 - place);
            hardest[place] = value;
            return;
        }
}

/* Short loops, each of which a compiler turns into vector code; whole numbers, so all clones agree. */
VECTOR static void add_row(Totals *totals, uint32_t *restrict columns,
                           const uint8_t *restrict row, Py_ssize_t width, uint8_t dark,
                           uint8_t bright) {
    uint8_t hardest = 0, span = bright - dark;
    for (Py_ssize_t x = 0; x < width; x++) columns[x] += row[x];
    for (Py_ssize_t start = 0; start < width; start += 4096) { /* 32 bits hold 4096 squares */
        Py_ssize_t end = start + 4096 < width ? start + 4096 : width;
        uint32_t squares = 0, middle = 0, steps = 0;
        for (Py_ssize_t x = start; x < end; x++) squares += (uint32_t)row[x] * row[x];
        for (Py_ssize_t x = start; x < end; x++) middle += (uint8_t)(row[x] - dark) <= span;
        if (end == width) end--; /* the last pixel has no neighbour */
        for (Py_ssize_t x = start; x < end; x++) {
            uint8_t high = row[x] > row[x + 1] ? row[x] : row[x + 1];
            uint8_t low = row[x] > row[x + 1] ? row[x + 1] : row[x];
            uint8_t step = high - low;
            hardest = step > hardest ? step : hardest;
            steps += step;
        }
        totals->squares += squares, totals->middle += middle, totals->steps += steps;
    }
    rank_in(totals->hardest, hardest);
}

/* A line of the thumbnail from the columns' sums over its rows, which begin anew. */
static uint64_t take_line(uint32_t *columns, Py_ssize_t wide, float scale, uint8_t *line) {
    uint64_t sum = 0;
    for (int block = 0; block < THUMB; block++) {
        uint32_t inside = 0;
        for (Py_ssize_t x = 0; x < wide; x++) inside += columns[block * wide + x];
        /* As OpenCV's INTER_AREA rounds: to even, but blocks of 2 x 2 up. */
        line[block] = scale == 0.25f && wide == 2 ? (uint8_t)((inside + 2) >> 2)
                                                  : (uint8_t)lrintf((float)inside * scale);
        sum += inside;
    }
    memset(columns, 0, THUMB * wide * sizeof *columns);
    return sum;
}

static double deviation(double sum, double squares, double count) {
    double mean = sum / count, variance = squares / count - mean * mean;
    return variance > 0 ? sqrt(variance) : 0;
}

static PyObject *features(const Totals *totals, const uint8_t *thumb, double rows, double width) {
    double pixels = rows * width, sum = 0, squares = 0;
    double contrast = deviation((double)totals->sum, (double)totals->squares, pixels);
    double step = (double)totals->steps / (rows * (width - 1));
    for (int cell = 0; cell < CELLS; cell++) {
        sum += thumb[cell];
        squares += (double)thumb[cell] * thumb[cell];
    }
    return Py_BuildValue("(dddddd)", (double)totals->sum / pixels, contrast,
                         deviation(sum, squares, CELLS), (double)totals->hardest[RANK - 1],
                         step / (contrast > 1 ? contrast : 1), (double)totals->middle / pixels);
}

static PyObject *measure_rows(const Py_buffer *picture, Py_ssize_t step, uint8_t dark,
                              uint8_t bright, uint8_t *thumb) {
    const uint8_t *base = picture->buf;
    Py_ssize_t height = picture->shape[0], width = picture->shape[1];
    Py_ssize_t rows = (height + step - 1) / step;
    if (rows % THUMB || width % THUMB || !rows || !width)
        return refuse("rows and columns: multiples of 32");
    int packed = picture->ndim == 2 && picture->strides[1] == 1;
    uint32_t *columns = calloc(width, sizeof *columns + 1); /* and a row of pixels behind them */
    if (!columns) return PyErr_NoMemory();
    uint8_t *copy = (uint8_t *)(columns + width);
    Py_ssize_t tall = rows / THUMB, wide = width / THUMB;
    float scale = 1.0f / (float)(tall * wide);
    Totals totals = {0};
    if (picture->ndim == 3) base += picture->strides[2]; /* green */
    for (Py_ssize_t r = 0; r < rows; r++) {
        const uint8_t *row = base + r * step * picture->strides[0];
        if (!packed) {
            for (Py_ssize_t x = 0; x < width; x++) copy[x] = row[x * picture->strides[1]];
            row = copy;
        }
        add_row(&totals, columns, row, width, dark, bright);
        if ((r + 1) % tall == 0)
            totals.sum += take_line(columns, wide, scale, thumb + r / tall * THUMB);
    }
    free(columns);
    return features(&totals, thumb, (double)rows, (double)width);
}

PyDoc_STRVAR(measure_doc,
             "measure(picture, step, dark, bright, thumb)\n--\n\n"
             "(brightness, contrast, coarse, edge, grain, midtones) of every step-th row of a\n"
             "uint8 picture (H, W), or (H, W, 3) of which green counts; the thumbnail goes into\n"
             "1024 writable bytes. ValueError unless rows taken and columns are multiples of 32.");

static PyObject *measure(PyObject *self, PyObject *args) {
    PyObject *source, *answer = NULL;
    Py_buffer picture, thumb;
    Py_ssize_t step;
    unsigned char dark, bright;
    if (!PyArg_ParseTuple(args, "Onbbw*", &source, &step, &dark, &bright, &thumb)) return NULL;
    if (PyObject_GetBuffer(source, &picture, PyBUF_STRIDES)) {
        PyBuffer_Release(&thumb);
        return NULL;
    }
    int shaped = picture.ndim == 2 || (picture.ndim == 3 && picture.shape[2] == 3);
    if (!shaped || picture.itemsize != 1 || step < 1 || thumb.len != CELLS || bright < dark)
        refuse("a uint8 picture (H, W) or (H, W, 3), step >= 1, 1024 bytes for its thumbnail");
    else
        answer = measure_rows(&picture, step, dark, bright, thumb.buf);
    PyBuffer_Release(&picture);
    PyBuffer_Release(&thumb);
    return answer;
}

/* A thumbnail of mean zero and length one; zeros where it is uniform. */
static void flatten(const uint8_t *thumb, double *flat) {
    double mean = 0, squares = 0;
    for (int cell = 0; cell < CELLS; cell++) mean += thumb[cell];
    mean /= CELLS;
    for (int cell = 0; cell < CELLS; cell++) {
        flat[cell] = thumb[cell] - mean;
        squares += flat[cell] * flat[cell];
    }
    double length = sqrt(squares), scale = length > 1 ? 1 / length : 0;
    for (int cell = 0; cell < CELLS; cell++) flat[cell] *= scale;
}

PyDoc_STRVAR(agreement_doc,
             "agreement(thumb, like)\n--\n\n"
             "Correlation of a thumbnail (1024 bytes) with another one, or with 1024 float32 of\n"
             "mean zero and length one; 0 where a thumbnail is uniform.");

static PyObject *agreement(PyObject *self, PyObject *args) {
    Py_buffer thumb, like;
    PyObject *answer = NULL;
    if (!PyArg_ParseTuple(args, "y*y*", &thumb, &like)) return NULL;
    if (thumb.len != CELLS || (like.len != CELLS && like.len != CELLS * 4)) {
        refuse("thumbnails: 1024 bytes, or 1024 float32");
    } else {
        double first[CELLS], second[CELLS], sum = 0;
        flatten(thumb.buf, first);
        if (like.len == CELLS) flatten(like.buf, second);
        else
            for (int cell = 0; cell < CELLS; cell++) second[cell] = ((const float *)like.buf)[cell];
        for (int cell = 0; cell < CELLS; cell++) sum += first[cell] * second[cell];
        answer = PyFloat_FromDouble(sum);
    }
    PyBuffer_Release(&thumb);
    PyBuffer_Release(&like);
    return answer;
}

/* ---- the map ---- */

typedef struct {
    int left, top, right, bottom, area, number;
    float peak;
} Area;

typedef struct {
    const float *cells;
    const uint8_t *types; /* NULL where the package knows none */
    int rows, columns, kinds;
} Map;

static int by_peak(const void *first, const void *second) {
    const Area *a = first, *b = second;
    if (a->peak != b->peak) return a->peak > b->peak ? -1 : 1;
    if (a->top != b->top) return a->top - b->top;
    if (a->left != b->left) return a->left - b->left;
    if (a->right != b->right) return a->right - b->right;
    if (a->bottom != b->bottom) return a->bottom - b->bottom;
    return a->area - b->area;
}

enum { BELOW = 0, OPEN = -1 }; /* of `owner`; any other value is the number of a cell's area */

/* The area around an open cell, by sides and corners; its cells are then its own. */
static Area spread(const Map *map, int *owner, int *stack, int first, int number) {
    int rows = map->rows, columns = map->columns, waiting = 1;
    Area area = {columns, rows, -1, -1, 0, number, -INFINITY};
    stack[0] = first, owner[first] = number;
    while (waiting) {
        int cell = stack[--waiting], y = cell / columns, x = cell % columns;
        area.area++;
        if (map->cells[cell] > area.peak) area.peak = map->cells[cell];
        if (x < area.left) area.left = x;
        if (x > area.right) area.right = x;
        if (y < area.top) area.top = y;
        if (y > area.bottom) area.bottom = y;
        for (int v = y ? y - 1 : 0; v <= y + 1 && v < rows; v++)
            for (int u = x ? x - 1 : 0; u <= x + 1 && u < columns; u++)
                if (owner[v * columns + u] == OPEN) {
                    owner[v * columns + u] = number;
                    stack[waiting++] = v * columns + u;
                }
    }
    return area;
}

/* What most of an area's cells say that it is, each with its value: 1 to kinds, 0 unknown. Row by
 * row, as the road in Python adds: then the sums are the same to the bit. */
static uint32_t type_of(const Map *map, const int *owner, const Area *area) {
    double sums[256];
    uint8_t said[256];
    int best = 0;
    if (!map->types) return 0;
    memset(sums, 0, (map->kinds + 1) * sizeof *sums);
    memset(said, 0, map->kinds + 1);
    for (int y = area->top; y <= area->bottom; y++)
        for (int x = area->left; x <= area->right; x++) {
            int cell = y * map->columns + x, type = map->types[cell];
            if (owner[cell] != area->number || type > map->kinds) continue;
            sums[type] += map->cells[cell], said[type] = 1;
        }
    for (int type = 1; type <= map->kinds; type++)
        if (said[type] && (!best || sums[type] > sums[best])) best = type;
    return (uint32_t)best;
}

static int write_area(uint8_t *out, const Area *area, uint32_t type, int64_t side) {
    int64_t fields[4] = {area->left * side, area->top * side, (area->right - area->left + 1) * side,
                         (area->bottom - area->top + 1) * side};
    int64_t pixels = area->area * side * side;
    for (int field = 0; field < 4; field++) {
        if (fields[field] > UINT16_MAX) return -1;
        uint16_t value = (uint16_t)fields[field];
        memcpy(out + 2 * field, &value, 2);
    }
    if (pixels > UINT32_MAX) return -1;
    uint32_t size = (uint32_t)pixels;
    memcpy(out + 8, &size, 4);
    memcpy(out + 12, &area->peak, 4);
    memcpy(out + 16, &type, 4);
    return 0;
}

/* How many areas there are, and in `areas`, sorted, which; -1 without memory. */
static int find_areas(const Map *map, float threshold, int *owner, Area *areas) {
    int cells = map->rows * map->columns, count = 0;
    int *stack = malloc(cells * sizeof *stack);
    if (!stack) return -1;
    for (int cell = 0; cell < cells; cell++)
        owner[cell] = map->cells[cell] >= threshold ? OPEN : BELOW;
    for (int cell = 0; cell < cells; cell++)
        if (owner[cell] == OPEN) {
            areas[count] = spread(map, owner, stack, cell, count + 1);
            count++;
        }
    qsort(areas, count, sizeof *areas, by_peak);
    free(stack);
    return count;
}

static PyObject *write_regions(const Map *map, float threshold, double peak, int64_t side,
                               const Py_buffer *out) {
    int *owner = malloc((size_t)map->rows * map->columns * sizeof *owner);
    /* No two areas touch, so at most every other cell of every other row begins one. */
    size_t room = ((size_t)(map->rows + 1) / 2) * ((map->columns + 1) / 2);
    Area *areas = malloc(room * sizeof *areas);
    int most = (int)(out->len / RECORD), broken = 0;
    int count = owner && areas ? find_areas(map, threshold, owner, areas) : -1;
    int written = count < most ? count : most;
    for (int place = 0; place < written && !broken; place++) {
        uint32_t type = type_of(map, owner, &areas[place]);
        broken = write_area((uint8_t *)out->buf + RECORD * place, &areas[place], type, side);
    }
    free(owner);
    free(areas);
    if (count < 0) return PyErr_NoMemory();
    if (broken) {
        PyErr_SetString(PyExc_OverflowError, "a region does not fit its record");
        return NULL;
    }
    return Py_BuildValue("(diO)", peak, written, count > most ? Py_True : Py_False);
}

PyDoc_STRVAR(regions_doc,
             "regions(map, columns, threshold, cell_px, out, types=None, kinds=0)\n--\n\n"
             "(peak, count, overflow) of a float32 map; its regions go into `out`, records of\n"
             "RECORD bytes (models.decode.REGION), in the order of models.decode.Decoder. A peak\n"
             "that is not finite has no regions; it is NaN if any cell is. types: uint8, one a\n"
             "cell, 1 to kinds; anything else is none.");

static PyObject *find_regions(const Py_buffer *map, const Py_buffer *types, int columns, int kinds,
                              float threshold, int side, const Py_buffer *out) {
    const float *values = map->buf;
    Py_ssize_t cells = map->len / 4;
    float peak = -INFINITY;
    if (columns < 1 || side < 1 || !cells || cells > 1 << 26 || cells % columns || map->len % 4)
        return refuse("a float32 map of whole rows, cell_px >= 1");
    if (kinds < 0 || kinds > 255 || (types->buf && types->len != cells))
        return refuse("types: a byte a cell of the map, 0 to 255 kinds of them");
    for (Py_ssize_t cell = 0; cell < cells && peak == peak; cell++)
        if (!(values[cell] <= peak)) peak = values[cell]; /* larger, or not a number */
    if (!isfinite(peak) || peak < threshold)
        return Py_BuildValue("(diO)", (double)peak, 0, Py_False);
    Map whole = {values, types->buf, (int)(cells / columns), columns, kinds};
    return write_regions(&whole, threshold, peak, side, out);
}

static PyObject *regions(PyObject *self, PyObject *args) {
    Py_buffer map, out, types = {0};
    int columns, side, kinds = 0;
    float threshold;
    if (!PyArg_ParseTuple(args, "y*ifiw*|z*i", &map, &columns, &threshold, &side, &out, &types,
                          &kinds))
        return NULL;
    PyObject *answer = find_regions(&map, &types, columns, kinds, threshold, side, &out);
    PyBuffer_Release(&map);
    PyBuffer_Release(&out);
    PyBuffer_Release(&types);
    return answer;
}

static PyMethodDef methods[] = {{"measure", measure, METH_VARARGS, measure_doc},
                                {"agreement", agreement, METH_VARARGS, agreement_doc},
                                {"regions", regions, METH_VARARGS, regions_doc},
                                {NULL, NULL, 0, NULL}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "models._native", NULL, 0, methods,
                                    NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) {
    PyObject *made = PyModule_Create(&module);
    if (made && PyModule_AddIntMacro(made, RECORD)) Py_CLEAR(made);
    return made;
}
