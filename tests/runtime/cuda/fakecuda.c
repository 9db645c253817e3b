/* A libcuda.so.1 without a GPU: what gradloom.runtime.cuda.driver calls, with the same rules.

   Device memory is memory of this process under addresses of its own (BASE on), so that host code
   that follows one crashes; it is given out full of 0xFF, with a
   gap after each piece.  What is put in a stream's queue is done
   when somebody waits for it, and then only that stream's, and what it waits for itself: a missing
   wait shows.  Kernels are run by an executor that a test gives, on arguments that were copied when
   they were launched.  A capture becomes a graph that replays its queue. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { INVALID = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, NOT_FOUND = 500, INVALID_HANDLE = 400,
       TOO_LARGE = 720, CAPTURE_UNSUPPORTED = 900, CAPTURE_UNJOINED = 904, NOT_READY = 600 };
enum { BLOCKS = 4096, NAMES = 128, MULTIPROCESSORS = 8, RESIDENT = 2, GRANULE = 256 };
#define BASE 0x7f0000000000ull /* where no mapping of this process begins by chance */
#define VARIABLES (1ull << 16) /* bytes from BASE on that are a module's own, not given out */
#define RESERVED (64ull << 30)  /* addresses; pages exist once they are touched */

typedef int Code;
typedef uint64_t Place;
typedef int (*Executor)(const char *image, uint64_t image_bytes, const char *kernel,
                        const uint32_t *geometry, const void *arguments, uint64_t argument_bytes);

typedef struct { char *image; uint64_t bytes; } Module;
typedef struct { Module *module; char name[NAMES]; uint32_t dynamic_bytes; } Function;
typedef enum { LAUNCH, COPY_IN, COPY_OUT, COPY, SET, RECORD, WAIT, GRAPH, LOOP, FREE } Kind;
typedef struct Op {
    Kind kind;
    struct Op *next;
    Function *function;
    uint32_t geometry[9]; /* grid x y z, block x y z, shared bytes, cooperative, cluster x */
    Place to, from;
    void *host, *owned; /* `owned` is freed with the op */
    uint64_t bytes;
    int byte;
    struct Event *event;
    uint64_t number; /* of the event's record */
    struct Graph *graph;
} Op;
typedef struct Graph { Op *first, **last; struct Stream *origin; Place condition; unsigned initially; } Graph;
typedef struct Stream {
    struct Stream *next;
    Op *first, **last;
    Graph *capture;
    uint64_t captured, joined; /* ops in the capture, and of them those the origin waits for */
    int busy;
} Stream;
typedef struct Event {
    Stream *stream;
    uint64_t recorded, done, captured;
    Graph *capture;
    double time;
} Event;

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static char *storage;
static uint64_t capacity = 1ull << 30;
static struct { uint64_t start, bytes; } blocks[BLOCKS]; /* sorted */
static int nblocks, devices = 1, major = 9, minor = 0, driver_version = 13000, fault;
static Executor executor;
static Stream legacy = {0, 0, &legacy.first, 0, 0, 0, 0}, *streams = &legacy;
static int captures;
static void *stack[64];
static int depth, context;

/* ---- failures and counts that tests ask for */

typedef struct { char name[64]; long calls; int code; long after; } Call;
static Call calls[128];
static int ncalls;

static Call *call_of(const char *name) {
    for (int i = 0; i < ncalls; i++)
        if (!strcmp(calls[i].name, name)) return &calls[i];
    Call *call = &calls[ncalls++];
    memset(call, 0, sizeof *call);
    snprintf(call->name, sizeof call->name, "%s", name);
    return call;
}

static Code entered(const char *name) {
    Call *call = call_of(name);
    call->calls++;
    return call->code && call->calls > call->after ? call->code : 0;
}

#define BEGIN pthread_mutex_lock(&lock); Code code = entered(__func__); if (code) goto end
#define HEALTHY if ((code = fault)) goto end /* after a kernel's fault nothing works */
#define END end: pthread_mutex_unlock(&lock); return code
#define FAIL(x) do { code = (x); goto end; } while (0)

/* ---- memory */

static char *host_of(Place place, uint64_t bytes) { /* where it is, if one block holds it all */
    for (int i = 0; i < nblocks; i++) {
        uint64_t start = BASE + blocks[i].start;
        if (place >= start && place + bytes <= start + blocks[i].bytes) return storage + (place - BASE);
    }
    return 0;
}

static Code allocated(Place *place, size_t bytes) {
    uint64_t at = VARIABLES, used = bytes;
    int i = 0;
    for (; i < nblocks && blocks[i].start < at + bytes + GRANULE; i++)
        at = (blocks[i].start + blocks[i].bytes + 2 * GRANULE - 1) / GRANULE * GRANULE;
    for (int j = 0; j < nblocks; j++) used += blocks[j].bytes;
    if (used > capacity || at + bytes > RESERVED || nblocks == BLOCKS) return OUT_OF_MEMORY;
    memmove(blocks + i + 1, blocks + i, (nblocks - i) * sizeof *blocks);
    blocks[i].start = at, blocks[i].bytes = bytes, nblocks++;
    memset(storage + at, 0xFF, bytes);
    *place = BASE + at;
    return 0;
}

static Code cuMemAlloc(Place *place, size_t bytes) {
    BEGIN; HEALTHY;
    code = captures ? CAPTURE_UNSUPPORTED : allocated(place, bytes);
    END;
}

static void drain(Stream *stream, Event *until, uint64_t number);

static void drain_all(void) {
    for (Stream *stream = streams; stream; stream = stream->next) drain(stream, 0, 0);
}

static Place later[BLOCKS];
static int nlater, draining;

static Code release(Place place) {
    for (int i = 0; i < nblocks; i++)
        if (BASE + blocks[i].start == place) {
            nblocks--;
            memmove(blocks + i, blocks + i + 1, (nblocks - i) * sizeof *blocks);
            return fault;
        }
    return INVALID;
}

static Code cuMemFree(Place place) {
    BEGIN; HEALTHY;
    if (captures) FAIL(CAPTURE_UNSUPPORTED);
    drain_all();
    if (draining) later[nlater++] = place;
    else code = release(place);
    END;
}

/* Memory in the order of a stream: it is there at once, and gone when the stream comes to that. */

static Code cuMemPoolCreate(void **pool, const void *properties) { BEGIN; HEALTHY; *pool = &nblocks; END; }
static Code cuMemPoolSetAttribute(void *pool, int which, void *value) { BEGIN; HEALTHY; END; }

static Code cuMemAllocFromPoolAsync(Place *place, size_t bytes, void *pool, void *stream) {
    BEGIN; HEALTHY;
    code = allocated(place, bytes);
    END;
}

static void put(Stream *stream, Op op);
static Stream *stream_of(void *handle);

static Code cuMemFreeAsync(Place place, void *stream) {
    BEGIN; HEALTHY;
    if (!host_of(place, 0)) FAIL(INVALID);
    put(stream_of(stream), (Op){.kind = FREE, .to = place});
    END;
}

static Code cuPointerGetAttribute(void *value, int which, Place place) {
    BEGIN; HEALTHY;
    *(int *)value = 0;
    if (which != 9 || !host_of(place, 1)) FAIL(INVALID); /* 9: the number of the device */
    END;
}

static Code cuCtxSynchronize(void) { BEGIN; HEALTHY; drain_all(); code = fault; END; }

static Code cuMemGetInfo(size_t *free_bytes, size_t *total) {
    BEGIN; HEALTHY;
    *free_bytes = *total = capacity;
    for (int i = 0; i < nblocks; i++) *free_bytes -= blocks[i].bytes;
    END;
}

static struct { char *start; size_t bytes; } pinned[BLOCKS];
static int npinned;

static Code cuMemHostAlloc(void **place, size_t bytes, unsigned flags) {
    BEGIN; HEALTHY;
    if (npinned == BLOCKS) FAIL(OUT_OF_MEMORY);
    *place = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    pinned[npinned].start = *place, pinned[npinned++].bytes = bytes;
    END;
}

static Code cuMemFreeHost(void *place) {
    BEGIN;
    drain_all();
    for (int i = 0; i < npinned; i++)
        if (pinned[i].start == place) { pinned[i] = pinned[--npinned]; free(place); FAIL(0); }
    code = INVALID;
    END;
}

static int is_pinned(const char *place) {
    for (int i = 0; i < npinned; i++)
        if (place >= pinned[i].start && place < pinned[i].start + pinned[i].bytes) return 1;
    return 0;
}

#include "fakequeue.h"

/* ---- modules and kernels */

static uint64_t extent(const char *image) { /* of an ELF file, or of text */
    if (memcmp(image, "\177ELF", 4)) return strlen(image);
    uint64_t sections, end;
    uint16_t size, number;
    memcpy(&sections, image + 0x28, 8), memcpy(&size, image + 0x3A, 2), memcpy(&number, image + 0x3C, 2);
    end = sections + (uint64_t)size * number;
    for (int i = 0; i < number; i++) {
        const char *header = image + sections + (uint64_t)i * size;
        uint32_t kind;
        uint64_t start, bytes;
        memcpy(&kind, header + 4, 4), memcpy(&start, header + 24, 8), memcpy(&bytes, header + 32, 8);
        if (kind != 8 && start + bytes > end) end = start + bytes; /* 8: takes no place in the file */
    }
    uint64_t programs;
    uint16_t each, many;
    memcpy(&programs, image + 0x20, 8), memcpy(&each, image + 0x36, 2), memcpy(&many, image + 0x38, 2);
    return programs + (uint64_t)each * many > end ? programs + (uint64_t)each * many : end;
}

static Code cuModuleLoadData(void **handle, const void *image) {
    BEGIN; HEALTHY;
    Module *module = malloc(sizeof *module);
    module->bytes = extent(image);
    module->image = memcpy(calloc(1, module->bytes + 1), image, module->bytes);
    *handle = module;
    END;
}

static Code cuModuleUnload(void *handle) {
    BEGIN;
    drain_all(); /* the handles of its functions stay, as others may be in a graph */
    END;
}

static Code cuModuleGetFunction(void **handle, void *from, const char *name) {
    BEGIN; HEALTHY;
    Module *module = from;
    char wanted[NAMES + 8];
    int elf = !memcmp(module->image, "\177ELF", 4);
    snprintf(wanted, sizeof wanted, "%s%s", elf ? ".text." : "", name);
    if (!memmem(module->image, module->bytes, wanted, strlen(wanted) + elf)) FAIL(NOT_FOUND);
    Function *function = calloc(1, sizeof *function);
    function->module = module;
    snprintf(function->name, NAMES, "%s", name);
    *handle = function;
    END;
}

static Code cuFuncSetAttribute(void *handle, int which, int value) {
    BEGIN; HEALTHY;
    if (which == 8) ((Function *)handle)->dynamic_bytes = value;
    if (which == 8 && value > 232448) FAIL(INVALID);
    END;
}

static Code cuOccupancyMaxActiveBlocksPerMultiprocessor(int *number, void *f, int threads, size_t bytes) {
    BEGIN; HEALTHY; *number = RESIDENT; END;
}

static Code launched(Function *function, const uint32_t *geometry, Stream *stream, void **parameters, void **extra) {
    const void *arguments = 0;
    uint64_t bytes = 0;
    for (int i = 0; extra && extra[i]; i += 2) {
        if (extra[i] == (void *)1) arguments = extra[i + 1];
        if (extra[i] == (void *)2) bytes = *(size_t *)extra[i + 1];
    }
    uint64_t threads = (uint64_t)geometry[3] * geometry[4] * geometry[5];
    uint64_t grid = (uint64_t)geometry[0] * geometry[1] * geometry[2];
    uint32_t most = function->dynamic_bytes > 49152 ? function->dynamic_bytes : 49152;
    if (parameters || !grid || !threads || threads > 1024 || geometry[5] > 64 || geometry[6] > most) return INVALID;
    if (geometry[1] > 65535 || geometry[2] > 65535 || geometry[0] > INT32_MAX) return INVALID;
    if (geometry[7] && grid > (uint64_t)RESIDENT * MULTIPROCESSORS) return TOO_LARGE;
    Op op = {.kind = LAUNCH, .function = function, .bytes = bytes};
    memcpy(op.geometry, geometry, sizeof op.geometry);
    op.owned = memcpy(malloc(bytes + 1), bytes ? arguments : "", bytes);
    put(stream, op);
    return 0;
}

static Code cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                           unsigned bz, unsigned bytes, void *stream, void **parameters, void **extra) {
    BEGIN; HEALTHY;
    uint32_t geometry[9] = {gx, gy, gz, bx, by, bz, bytes, 0, 1};
    code = launched(f, geometry, stream_of(stream), parameters, extra);
    END;
}

typedef struct { unsigned sizes[7]; void *stream; struct { int id; char pad[4]; int value[16]; } *attributes; unsigned number; } Config;

static Code cuLaunchKernelEx(const Config *config, void *f, void **parameters, void **extra) {
    BEGIN; HEALTHY;
    uint32_t geometry[9] = {0};
    memcpy(geometry, config->sizes, sizeof config->sizes);
    geometry[8] = 1;
    for (unsigned i = 0; i < config->number; i++) {
        if (config->attributes[i].id == 2) geometry[7] = config->attributes[i].value[0];
        if (config->attributes[i].id == 4) geometry[8] = config->attributes[i].value[0];
    }
    if (!geometry[8] || geometry[0] % geometry[8] || geometry[8] > 8) FAIL(INVALID);
    code = launched(f, geometry, stream_of(config->stream), parameters, extra);
    END;
}

/* ---- graphs */

static Code cuGraphCreate(void **made, unsigned flags) {
    BEGIN; HEALTHY;
    Graph *graph = calloc(1, sizeof *graph);
    graph->last = &graph->first;
    *made = graph;
    END;
}

static Code capture(Stream *stream, Graph *graph) {
    if (stream == &legacy || stream->capture || graph->first) return INVALID;
    graph->origin = stream;
    stream->capture = graph, stream->captured = stream->joined = 0;
    captures++;
    return 0;
}

static Code cuStreamBeginCapture(void *handle, int mode) {
    BEGIN; HEALTHY;
    void *graph;
    if ((code = cuGraphCreate(&graph, 0))) goto end;
    code = capture(stream_of(handle), graph);
    END;
}

static Code cuStreamBeginCaptureToGraph(void *handle, void *into, void **after, void *edges, size_t number, int mode) {
    BEGIN; HEALTHY;
    if (number || driver_version < 12030) FAIL(INVALID);
    code = capture(stream_of(handle), into);
    END;
}

static Code cuStreamEndCapture(void *handle, void **made) {
    BEGIN;
    Stream *origin = handle;
    Graph *graph = origin->capture;
    *made = 0;
    if (!graph || graph->origin != origin) FAIL(INVALID);
    captures--;
    for (Stream *stream = streams; stream; stream = stream->next) {
        if (stream->capture != graph) continue;
        if (stream != origin && stream->joined < stream->captured) code = CAPTURE_UNJOINED;
        stream->capture = 0;
    }
    *made = code ? 0 : graph;
    END;
}

/* A condition is a word of the device's memory, and its handle the address: it is where a kernel
   finds it.  One belongs to a graph, and must have a node there when that is instantiated. */
static Code cuGraphConditionalHandleCreate(uint64_t *handle, void *graph, void *ctx, unsigned value, unsigned flags) {
    BEGIN; HEALTHY;
    Graph *owner = graph;
    if (driver_version < 12030) FAIL(INVALID);
    if (flags != 1 || owner->condition) FAIL(INVALID);
    code = cuMemAlloc(&owner->condition, 4);
    owner->initially = value;
    *handle = owner->condition;
    END;
}

typedef struct {
    int kind, reserved[3];
    struct { uint64_t handle; int type; unsigned size; void **graphs; void *context; } conditional;
} Node;

static Code cuGraphAddNode(void **made, void *graph, void **after, void *edges, size_t number, void *given) {
    BEGIN; HEALTHY;
    Graph *owner = graph;
    Node *node = given;
    if (node->kind != 13 || node->conditional.type != 1 || node->conditional.size != 1) FAIL(INVALID);
    if (number || owner->first || node->conditional.handle != owner->condition) FAIL(INVALID);
    if (node->conditional.context != &context || driver_version < 12040) FAIL(INVALID);
    Graph *body = calloc(1, sizeof *body);
    body->last = &body->first;
    Op *op = calloc(1, sizeof *op);
    op->kind = LOOP, op->graph = body, op->to = owner->condition, op->number = owner->initially;
    *owner->last = op, owner->last = &op->next;
    node->conditional.graphs = malloc(sizeof(void *));
    *node->conditional.graphs = body;
    *made = op;
    END;
}

static Code cuStreamIsCapturing(void *handle, int *status) { BEGIN; *status = stream_of(handle)->capture != 0; END; }
static Code cuGraphInstantiate(void **exec, void *graph, unsigned long long flags) {
    BEGIN; HEALTHY;
    Graph *made = graph;
    if (made->condition && !made->first) FAIL(INVALID); /* a condition without a node */
    *exec = graph;
    END;
}
static Code cuGraphDestroy(void *graph) { BEGIN; END; } /* its queue lives on in what was made of it */
static Code cuGraphExecDestroy(void *exec) {
    BEGIN;
    drain_all();
    if (((Graph *)exec)->condition) cuMemFree(((Graph *)exec)->condition); /* gone, after a reset */
    END;
}

static Code cuGraphLaunch(void *exec, void *stream) {
    BEGIN; HEALTHY;
    put(stream_of(stream), (Op){.kind = GRAPH, .graph = exec});
    END;
}

/* ---- device and context */

static Code cuInit(unsigned flags) { BEGIN; if (!devices) FAIL(NO_DEVICE); END; }
static Code cuDriverGetVersion(int *version) { BEGIN; *version = driver_version; END; }
static Code cuDeviceGetCount(int *number) { BEGIN; *number = devices; END; }
static Code cuDeviceGet(int *device, int ordinal) { BEGIN; if (ordinal >= devices) FAIL(101); *device = ordinal; END; }
static Code cuDeviceGetName(char *name, int bytes, int device) { BEGIN; snprintf(name, bytes, "Fake GPU"); END; }
static Code cuDeviceTotalMem(size_t *bytes, int device) { BEGIN; *bytes = capacity; END; }
static Code cuDeviceGetAttribute(int *value, int which, int device) {
    BEGIN;
    *value = which == 75 ? major : which == 76 ? minor : which == 16 ? MULTIPROCESSORS : which == 97 ? 232448 : 1;
    END;
}
static Code cuDevicePrimaryCtxRetain(void **made, int device) { BEGIN; *made = &context; END; }
static Code cuCtxPushCurrent(void *pushed) { BEGIN; if (depth == 64) FAIL(INVALID); stack[depth++] = pushed; END; }
static Code cuCtxPopCurrent(void **popped) { BEGIN; if (!depth) FAIL(201); *popped = stack[--depth]; END; }
static Code cuGetErrorName(int code, const char **name) {
    static char text[32];
    snprintf(text, sizeof text, code == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : code == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR_%d", code);
    *name = text;
    return 0;
}

#define ROW(name) {#name, (void *)name}
static const struct { const char *name; void *function; } TABLE[] = {
    ROW(cuInit), ROW(cuDriverGetVersion), ROW(cuDeviceGetCount), ROW(cuDeviceGet), ROW(cuDeviceGetName),
    ROW(cuDeviceTotalMem), ROW(cuDeviceGetAttribute), ROW(cuDevicePrimaryCtxRetain), ROW(cuCtxPushCurrent),
    ROW(cuCtxPopCurrent), ROW(cuGetErrorName), ROW(cuMemAlloc), ROW(cuMemFree), ROW(cuMemGetInfo),
    ROW(cuMemHostAlloc), ROW(cuMemFreeHost), ROW(cuMemcpyHtoDAsync), ROW(cuMemcpyDtoHAsync),
    ROW(cuMemcpyDtoDAsync), ROW(cuMemsetD8Async), ROW(cuStreamCreate), ROW(cuStreamDestroy),
    ROW(cuStreamSynchronize), ROW(cuStreamWaitEvent), ROW(cuEventCreate), ROW(cuEventDestroy),
    ROW(cuEventRecord), ROW(cuEventSynchronize), ROW(cuEventElapsedTime), ROW(cuModuleLoadData),
    ROW(cuModuleUnload), ROW(cuModuleGetFunction), ROW(cuFuncSetAttribute), ROW(cuLaunchKernel),
    ROW(cuOccupancyMaxActiveBlocksPerMultiprocessor), ROW(cuLaunchKernelEx), ROW(cuStreamBeginCapture),
    ROW(cuMemPoolCreate), ROW(cuMemPoolSetAttribute),
    ROW(cuMemAllocFromPoolAsync), ROW(cuMemFreeAsync), ROW(cuPointerGetAttribute), ROW(cuCtxSynchronize),
    ROW(cuStreamBeginCaptureToGraph),
    ROW(cuGraphCreate), ROW(cuGraphConditionalHandleCreate), ROW(cuGraphAddNode), ROW(cuStreamEndCapture), ROW(cuStreamIsCapturing), ROW(cuGraphInstantiate), ROW(cuGraphDestroy),
    ROW(cuGraphExecDestroy), ROW(cuGraphLaunch),
    {"cuGraphInstantiateWithFlags", (void *)cuGraphInstantiate},
    {"cuGraphAddNode_v2", (void *)cuGraphAddNode},
};

static Code absent(void) { return 801; }

Code cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *status) {
    if (status) *status = 0;
    *function = (void *)absent;
    if (!strcmp(name, "cuGetProcAddress")) *function = (void *)cuGetProcAddress_v2;
    for (size_t i = 0; i < sizeof TABLE / sizeof *TABLE; i++)
        if (!strcmp(TABLE[i].name, name)) *function = TABLE[i].function;
    return 0;
}

/* ---- what tests call */

void fake_reset(uint64_t bytes, int number, int version) {
    if (!storage) storage = mmap(0, RESERVED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (Stream *s = streams; s; s = s->next) s->first = 0, s->last = &s->first, s->capture = 0, s->busy = 0;
    capacity = bytes, devices = number, driver_version = version;
    nblocks = fault = ncalls = captures = depth = nlater = draining = 0;
    executor = 0;
}
void fake_executor(Executor given) { executor = given; }
void fake_fail(const char *name, int code, long after) { Call *call = call_of(name); call->code = code, call->after = call->calls + after; }
long fake_calls(const char *name) { return call_of(name)->calls; }
uint64_t fake_base(void) { return BASE; }
void *fake_storage(void) { return storage; }
int fake_blocks(void) { return nblocks; }
void fake_block(int i, uint64_t *place, uint64_t *bytes) { *place = BASE + blocks[i].start, *bytes = blocks[i].bytes; }
