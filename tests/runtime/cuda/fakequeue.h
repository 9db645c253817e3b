/* Streams, events and copies of the fake driver: a part of fakecuda.c. */

static Stream *stream_of(void *handle) { return (uintptr_t)handle > 2 ? handle : &legacy; } /* 1, 2: its names */

static void put(Stream *stream, Op op) {
    Op *made = malloc(sizeof op);
    *made = op;
    made->next = 0;
    Op ***last = stream->capture ? &stream->capture->last : &stream->last;
    **last = made;
    *last = &made->next;
    if (stream->capture) stream->captured++;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void perform(Op *op) {
    Module *module = op->function ? op->function->module : 0;
    if (fault) return;
    switch (op->kind) {
    case LAUNCH:
        if (executor)
            fault = executor(module->image, module->bytes, op->function->name, op->geometry, op->owned, op->bytes);
        break;
    case COPY_IN: memcpy(host_of(op->to, op->bytes), op->owned ? op->owned : op->host, op->bytes); break;
    case COPY_OUT: memcpy(op->host, host_of(op->from, op->bytes), op->bytes); break;
    case COPY: memmove(host_of(op->to, op->bytes), host_of(op->from, op->bytes), op->bytes); break;
    case FREE: release(op->to); break;
    case SET: memset(host_of(op->to, op->bytes), op->byte, op->bytes); break;
    case RECORD: op->event->done = op->number; op->event->time = now(); break;
    case WAIT: if (op->event->done < op->number) drain(op->event->stream, op->event, op->number); break;
    case GRAPH: for (Op *one = op->graph->first; one; one = one->next) perform(one); break;
    case LOOP:
        *(uint32_t *)host_of(op->to, 4) = op->number;
        while (!fault && *(uint32_t *)host_of(op->to, 4))
            for (Op *one = op->graph->first; one; one = one->next) perform(one);
        break;
    }
}

/* What runs a kernel is Python, whose garbage collector may call the driver meanwhile: what is in the
   queue behind that kernel stays there, and memory that is given back is free when all is done. */
static void drain(Stream *stream, Event *until, uint64_t number) {
    if (stream->busy) return;
    stream->busy = 1, draining++;
    while (stream->first && !(until && until->done >= number)) {
        Op *op = stream->first;
        if (!(stream->first = op->next)) stream->last = &stream->first;
        perform(op);
        if (op->kind != GRAPH) free(op->owned);
        free(op);
    }
    stream->busy = 0;
    if (!--draining) while (nlater) release(later[--nlater]);
}

static Code copied(Stream *stream, Op op) {
    int reads = op.kind == COPY_OUT || op.kind == COPY, writes = op.kind != COPY_OUT;
    if ((writes && !host_of(op.to, op.bytes)) || (reads && !host_of(op.from, op.bytes))) return INVALID;
    if (op.kind == COPY_IN && !stream->capture && !is_pinned(op.host))
        op.owned = memcpy(malloc(op.bytes), op.host, op.bytes); /* pageable: the driver keeps a copy */
    put(stream, op);
    if (op.kind == COPY_OUT && !stream->capture && !is_pinned(op.host)) drain(stream, 0, 0);
    return fault;
}

static Code cuMemcpyHtoDAsync(Place to, const void *host, size_t bytes, void *stream) {
    BEGIN; HEALTHY;
    code = copied(stream_of(stream), (Op){.kind = COPY_IN, .to = to, .host = (void *)host, .bytes = bytes});
    END;
}

static Code cuMemcpyDtoHAsync(void *host, Place from, size_t bytes, void *stream) {
    BEGIN; HEALTHY;
    code = copied(stream_of(stream), (Op){.kind = COPY_OUT, .from = from, .host = host, .bytes = bytes});
    END;
}

static Code cuMemcpyDtoDAsync(Place to, Place from, size_t bytes, void *stream) {
    BEGIN; HEALTHY;
    code = copied(stream_of(stream), (Op){.kind = COPY, .to = to, .from = from, .bytes = bytes});
    END;
}

static Code cuMemsetD8Async(Place to, unsigned char byte, size_t bytes, void *stream) {
    BEGIN; HEALTHY;
    code = copied(stream_of(stream), (Op){.kind = SET, .to = to, .byte = byte, .bytes = bytes});
    END;
}

static Code cuStreamCreate(void **handle, unsigned flags) {
    BEGIN; HEALTHY;
    Stream *stream = calloc(1, sizeof *stream);
    stream->last = &stream->first;
    stream->next = legacy.next, legacy.next = stream;
    *handle = stream;
    END;
}

static Code cuStreamDestroy(void *handle) {
    BEGIN;
    drain(handle, 0, 0);
    for (Stream *s = streams; s->next; s = s->next)
        if (s->next == handle) { s->next = s->next->next; break; }
    END;
}

static Code cuStreamSynchronize(void *handle) {
    BEGIN; HEALTHY;
    if (stream_of(handle)->capture) FAIL(CAPTURE_UNSUPPORTED);
    drain(stream_of(handle), 0, 0);
    code = fault;
    END;
}

static Code cuEventCreate(void **event, unsigned flags) { BEGIN; HEALTHY; *event = calloc(1, sizeof(Event)); END; }
static Code cuEventDestroy(void *event) { BEGIN; drain_all(); free(event); END; }

static Code cuEventRecord(void *handle, void *on) {
    BEGIN; HEALTHY;
    Event *event = handle;
    Stream *stream = stream_of(on);
    event->stream = stream, event->capture = stream->capture;
    if (stream->capture) event->captured = stream->captured;
    else put(stream, (Op){.kind = RECORD, .event = event, .number = ++event->recorded});
    END;
}

static Code cuStreamWaitEvent(void *on, void *handle, unsigned flags) {
    BEGIN; HEALTHY;
    Event *event = handle;
    Stream *stream = stream_of(on);
    if (event->capture) { /* the stream joins the capture, or the capture's origin its stream */
        if (!stream->capture) stream->capture = event->capture, stream->captured = 1, stream->joined = 0;
        event->stream->joined = event->captured;
    } else if (event->recorded)
        put(stream, (Op){.kind = WAIT, .event = event, .number = event->recorded});
    END;
}

static Code cuEventSynchronize(void *handle) {
    BEGIN; HEALTHY;
    Event *event = handle;
    if (event->recorded) drain(event->stream, event, event->recorded);
    code = fault;
    END;
}

static Code cuEventElapsedTime(float *ms, void *start, void *stop) {
    BEGIN; HEALTHY;
    Event *a = start, *b = stop;
    if (!a->recorded || !b->recorded) FAIL(INVALID_HANDLE);
    if (a->done < a->recorded || b->done < b->recorded) FAIL(NOT_READY);
    *ms = (float)(1e3 * (b->time - a->time));
    END;
}
