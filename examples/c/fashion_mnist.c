/* Trains the network of export_fashion_mnist.py on the four IDX files of Fashion-MNIST, not gzipped.
 *
 *     cc -O2 fashion_mnist.c -I DIRECTORY DIRECTORY/libfashion.a -lm -o train && ./train FOLDER [EPOCHS]
 *
 * Rows are taken in order, in batches of 256. Prints loss, accuracy and seconds of each epoch. */
#include "fashion.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 256, TEST_BATCH = 1000 };

static void stop(const char *what, const char *where) {
    fprintf(stderr, "%s: %s\n", where, what);
    exit(1);
}

static void *memory(size_t bytes) {
    void *made = malloc(bytes ? bytes : 1);
    if (made == NULL) stop("out of memory", "malloc");
    return made;
}

static uint32_t big_endian(const unsigned char *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* The bytes of an IDX file of unsigned bytes: how many items of how many bytes each. */
static unsigned char *read_idx(const char *folder, const char *name, int64_t *items, int64_t *item_bytes) {
    char path[4096];
    unsigned char head[16];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path) stop("the path is too long", name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) stop("cannot be opened; gunzip it first", path);
    if (fread(head, 1, 4, file) != 4 || memcmp(head, "\0\0\10", 3) != 0 || head[3] < 1 || head[3] > 3)
        stop("expected an IDX file of unsigned bytes, not gzipped", path);
    int axes = head[3];
    if (fread(head, 4, (size_t)axes, file) != (size_t)axes) stop("ends within its head", path);
    *items = big_endian(head);
    *item_bytes = axes == 3 ? (int64_t)big_endian(head + 4) * big_endian(head + 8) : 1;
    if (*item_bytes > 1 << 20) stop("an image is larger than a mebibyte", path);
    size_t total = (size_t)(*items * *item_bytes);
    unsigned char *data = memory(total);
    if (fread(data, 1, total, file) != total) stop("holds less than its head says", path);
    fclose(file);
    return data;
}

typedef struct { int64_t rows; float *x; int64_t *y; } images;

static images read_images(const char *folder, const char *images_name, const char *labels_name, int64_t pixels) {
    int64_t rows, labels, bytes, one;
    unsigned char *raw = read_idx(folder, images_name, &rows, &bytes);
    unsigned char *label = read_idx(folder, labels_name, &labels, &one);
    if (rows != labels || bytes != pixels || one != 1) stop("images and labels do not belong together", images_name);
    images out = {rows, memory((size_t)(rows * pixels) * sizeof(float)), memory((size_t)rows * sizeof(int64_t))};
    for (int64_t k = 0; k < rows * pixels; k++) out.x[k] = (float)raw[k] / 255.0f;
    for (int64_t k = 0; k < rows; k++) out.y[k] = label[k];
    free(raw);
    free(label);
    return out;
}

static double seconds(void) {
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

int main(int count, char **words) {
    static fashion_state state;
    int64_t elements;
    const int64_t hidden = 256;
    if (count < 2) stop("expected FOLDER [EPOCHS]", words[0]);
    int epochs = count > 2 ? atoi(words[2]) : 1;
    fashion_state_at(&state, 0, &elements); /* W1 is [pixels, hidden] */
    const int64_t pixels = elements / hidden;
    images train = read_images(words[1], "train-images-idx3-ubyte", "train-labels-idx1-ubyte", pixels);
    images test = read_images(words[1], "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", pixels);

    fashion_init(&state);
    int64_t most = fashion_train_workspace_bytes(BATCH), test_most = fashion_infer_workspace_bytes(TEST_BATCH);
    void *work = memory((size_t)(most > test_most ? most : test_most));
    float losses[BATCH];
    uint8_t right[BATCH];
    int64_t guess[TEST_BATCH];
    for (int epoch = 1; epoch <= epochs; epoch++) {
        double started = seconds(), loss = 0;
        int64_t hits = 0, test_hits = 0;
        for (int64_t at = 0; at < train.rows; at += BATCH) {
            int64_t rows = at_most(BATCH, train.rows - at);
            int status = fashion_train_call(&state, rows, train.x + at * pixels, train.y + at, losses, right, work);
            if (status != 0) stop("a label is out of range", fashion_train_status_name(status, NULL));
            for (int64_t k = 0; k < rows; k++) loss += losses[k];
            for (int64_t k = 0; k < rows; k++) hits += right[k];
        }
        double spent = seconds() - started;
        for (int64_t at = 0; at < test.rows; at += TEST_BATCH) {
            int64_t rows = at_most(TEST_BATCH, test.rows - at);
            if (fashion_infer_call(&state, rows, test.x + at * pixels, guess, work) != 0) stop("failed", "inference");
            for (int64_t k = 0; k < rows; k++) test_hits += guess[k] == test.y[at + k];
        }
        printf("epoch %3d  loss %.9f  accuracy %.6f  test %.4f  seconds %.4f\n", epoch, loss / (double)train.rows,
               (double)hits / (double)train.rows, (double)test_hits / (double)test.rows, spent);
        fflush(stdout);
    }
    free(work);
    free(train.x);
    free(train.y);
    free(test.x);
    free(test.y);
    return 0;
}
