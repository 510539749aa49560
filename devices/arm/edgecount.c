/* What a model costs an Arm core, counted while qemu-user runs the real binary: a QEMU TCG plug-in.
 *
 * Instructions are counted by class between two marks of the guest, each a harmless system call: getpgid(0x7ed00001)
 * starts, getpgid(0x7ed00002) stops and writes one line of JSON to `out=FILE`. With `l1d=KIB,l2=KIB[,l3=KIB]` every access
 * also goes through a model of caches: virtual addresses, true LRU, lines of 64 bytes, 4 ways (L1) and 16 (beyond), no
 * prefetch, no TLB, one core. A64 instructions are told apart by their encoding (Arm Architecture Reference Manual
 * DDI 0487, chapter C4), those of a 32-bit guest by the name that QEMU's disassembler gives them. A prefetch is a load.
 *
 * Debian ships no qemu-plugin.h with qemu-user. The few declarations below follow QEMU's include/qemu/qemu-plugin.h of
 * version 7.2, where the interface is version 1. Compile with -std=c11: newer C libraries then link no symbol that the
 * older one, beside which this runs, lacks. Counters are not atomic: the guest must compute on one thread.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
typedef uint32_t memory_info;
struct tb;
struct insn;
typedef struct {
    const char *target_name;
    struct {
        int min, cur;
    } version;
    bool system_emulation;
    union {
        struct {
            int smp_vcpus, max_vcpus;
        } system;
    };
} qemu_info;
enum { NO_REGISTERS = 0, LOADS_AND_STORES = 3, INLINE_ADD = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct tb *));
extern size_t qemu_plugin_tb_n_insns(const struct tb *);
extern struct insn *qemu_plugin_tb_get_insn(const struct tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct insn *);
extern uint64_t qemu_plugin_insn_vaddr(const struct insn *);
extern char *qemu_plugin_insn_disas(const struct insn *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct tb *, int op, void *, uint64_t);
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct tb *, void (*)(unsigned, void *), int flags, void *);
extern void qemu_plugin_register_vcpu_mem_cb(struct insn *, void (*)(unsigned, memory_info, uint64_t, void *), int flags,
                                             int which, void *);
extern unsigned qemu_plugin_mem_size_shift(memory_info);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t,
                                                                     uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                                                                     uint64_t));

EXPORT int qemu_plugin_version = 1;

/* ---- classes of instructions ---- */

enum class {
    INTEGER, MULTIPLY, BRANCH, LOAD, STORE, VECTOR_LOAD, VECTOR_STORE, FLOAT_MULTIPLY_ADD, FLOAT_OTHER, DOT_PRODUCT, I8MM,
    VECTOR_MULTIPLY, VECTOR_OTHER, SVE, OTHER, CLASSES
};
static const char *const CLASS_NAMES[CLASSES] = {
    "integer", "multiply", "branch", "load", "store", "vector_load", "vector_store", "float_multiply_add", "float_other",
    "dot_product", "i8mm", "vector_multiply", "vector_other", "sve", "other"};

typedef struct {
    uint32_t mask, value;
    enum class class;
} encoding;

/* Within "scalar floating-point and Advanced SIMD"; the first that fits counts. */
static const encoding SIMD[] = {
    {0x9FE0FC00, 0x0E809400, DOT_PRODUCT},        /* SDOT, UDOT */
    {0x9FC0F400, 0x0F80E000, DOT_PRODUCT},        /* SDOT, UDOT by element */
    {0xBFE0FC00, 0x0E809C00, DOT_PRODUCT},        /* USDOT */
    {0xBF40F400, 0x0F00F000, DOT_PRODUCT},        /* USDOT, SUDOT by element */
    {0xDFE0F400, 0x4E80A400, I8MM},               /* SMMLA, UMMLA, USMMLA */
    {0xBF20FC00, 0x0E20CC00, FLOAT_MULTIPLY_ADD}, /* FMLA, FMLS */
    {0xBF60FC00, 0x0E400C00, FLOAT_MULTIPLY_ADD}, /* the same, half precision */
    {0xBF80B400, 0x0F801000, FLOAT_MULTIPLY_ADD}, /* FMLA, FMLS by element */
    {0xBFC0B400, 0x0F001000, FLOAT_MULTIPLY_ADD}, /* the same, half precision */
    {0xFF000000, 0x1F000000, FLOAT_MULTIPLY_ADD}, /* FMADD and its kin */
    {0x9F20CC00, 0x0E208000, VECTOR_MULTIPLY},    /* SMLAL, SMLSL, SQDMLAL and unsigned kin */
    {0x9F20EC00, 0x0E20C000, VECTOR_MULTIPLY},    /* SMULL, SQDMULL and unsigned kin */
    {0x9F20F400, 0x0E209400, VECTOR_MULTIPLY},    /* MLA, MLS, MUL */
    {0x9F20FC00, 0x0E20B400, VECTOR_MULTIPLY},    /* SQDMULH, SQRDMULH */
    {0x9F002400, 0x0F002000, VECTOR_MULTIPLY},    /* SMLAL, SMLSL, SMULL by element, and unsigned kin */
    {0x9F00F400, 0x0F008000, VECTOR_MULTIPLY},    /* MUL by element */
    {0x9F00E400, 0x0F00C000, VECTOR_MULTIPLY},    /* SQDMULH, SQRDMULH by element */
    {0xBF00B400, 0x2F000000, VECTOR_MULTIPLY},    /* MLA, MLS by element */
    {0x9F80F400, 0x0F809000, FLOAT_OTHER},        /* FMUL by element */
    {0x9F20C400, 0x0E20C400, FLOAT_OTHER},        /* three registers, floating point */
    {0x5F000000, 0x1E000000, FLOAT_OTHER},        /* scalar floating point, moves and conversions with it */
};

static enum class of_a64_memory(uint32_t x) {
    bool vector = x >> 26 & 1, literal = (x >> 24 & 0x3B) == 0x18, one_register = (x >> 27 & 7) == 7;
    bool load = literal || (!vector && one_register ? (x >> 22 & 3) != 0 : x >> 22 & 1);
    if (vector) return load ? VECTOR_LOAD : VECTOR_STORE;
    return load ? LOAD : STORE;
}

static enum class of_a64(uint32_t x) {
    unsigned group = x >> 25 & 15;
    if (group == 2) return SVE;
    if ((group & 14) == 8) return INTEGER;
    if ((group & 14) == 10) return BRANCH;
    if ((group & 5) == 4) return of_a64_memory(x);
    if ((group & 7) == 5) return (x >> 24 & 0x1F) == 0x1B ? MULTIPLY : INTEGER;
    if ((group & 7) != 7) return OTHER;
    for (size_t i = 0; i < sizeof SIMD / sizeof *SIMD; i++)
        if ((x & SIMD[i].mask) == SIMD[i].value) return SIMD[i].class;
    return VECTOR_OTHER;
}

static bool starts(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

/* b, bl, bx, blx, each with a condition of two letters or none; bic, bfi and bkpt are none of them. */
static bool is_branch(const char *name, size_t length) {
    static const char *const conditions = "eq ne cs hs cc lo mi pl vs vc hi ls ge lt gt le al";
    if (starts(name, "cbz") || starts(name, "cbnz") || starts(name, "tbb") || starts(name, "tbh")) return true;
    size_t verb = starts(name, "blx") ? 3 : starts(name, "bx") || (starts(name, "bl") && length != 3) ? 2 : 1;
    if (*name != 'b' || length > verb + 2) return false;
    if (length == verb) return true;
    char condition[3] = {name[verb], name[verb + 1], 0};
    return length == verb + 2 && strstr(conditions, condition) != NULL;
}

static enum class of_vector_name(const char *name, const char *type) {
    if (starts(name, "vld") || starts(name, "vpop")) return VECTOR_LOAD;
    if (starts(name, "vst") || starts(name, "vpush")) return VECTOR_STORE;
    if (starts(name, "vsdot") || starts(name, "vudot") || starts(name, "vusdot")) return DOT_PRODUCT;
    if (starts(name, "vsmmla") || starts(name, "vummla") || starts(name, "vusmmla")) return I8MM;
    bool multiply_add = starts(name, "vmla") || starts(name, "vmls") || starts(name, "vfm") || starts(name, "vfnm");
    if (type[0] == 'f') return multiply_add ? FLOAT_MULTIPLY_ADD : FLOAT_OTHER;
    if (multiply_add || starts(name, "vmul") || starts(name, "vqdm") || starts(name, "vqrdm")) return VECTOR_MULTIPLY;
    return VECTOR_OTHER;
}

/* `text` is a line of assembler, A32 or T32: "vmla.f32 q8, q0, d2[0]". */
static enum class of_a32(const char *text) {
    size_t length = strcspn(text, ". \t");
    const char *type = text[length] == '.' ? text + length + 1 : "";
    if (*text == 'v') return of_vector_name(text, type);
    if (is_branch(text, length)) return BRANCH;
    if (starts(text, "ld") || starts(text, "pop") || starts(text, "pld")) return LOAD;
    if (starts(text, "st") || starts(text, "push")) return STORE;
    if (starts(text, "mul") || starts(text, "ml") || starts(text, "sm") || starts(text, "um") || starts(text, "sdiv") ||
        starts(text, "udiv"))
        return MULTIPLY;
    return INTEGER;
}

/* ---- caches ---- */

typedef struct {
    unsigned sets, ways;
    uint64_t *tags, *ages, now, misses;
} cache;
enum { LINE = 64, LINE_SHIFT = 6, L1_WAYS = 4, OUTER_WAYS = 16 };
static cache l1d, l1i, outer[2];
static int outer_count;
static uint64_t memory_lines;

static void make_cache(cache *c, unsigned kib, unsigned ways) {
    *c = (cache){.sets = kib * 1024 / LINE / ways, .ways = ways};
    c->tags = malloc(sizeof(uint64_t) * c->sets * ways);
    c->ages = calloc((size_t)c->sets * ways, sizeof(uint64_t));
    memset(c->tags, 0xFF, sizeof(uint64_t) * c->sets * ways);
}

static bool hit(cache *c, uint64_t line) {
    size_t first = line % c->sets * c->ways, oldest = first;
    c->now++;
    for (size_t i = first; i < first + c->ways; i++) {
        if (c->tags[i] == line) {
            c->ages[i] = c->now;
            return true;
        }
        if (c->ages[i] < c->ages[oldest]) oldest = i;
    }
    c->tags[oldest] = line;
    c->ages[oldest] = c->now;
    c->misses++;
    return false;
}

static void fetch(cache *first, uint64_t line) {
    if (hit(first, line)) return;
    for (int level = 0; level < outer_count; level++)
        if (hit(&outer[level], line)) return;
    memory_lines++;
}

/* ---- counting ---- */

static uint64_t counts[CLASSES], counts_at_start[CLASSES];
static bool counting, is_a64;
static FILE *out;
static int64_t getpgid_number;

static void on_memory(unsigned cpu, memory_info info, uint64_t address, void *unused) {
    (void)cpu, (void)unused;
    if (!counting) return;
    uint64_t last = (address + (1u << qemu_plugin_mem_size_shift(info)) - 1) >> LINE_SHIFT;
    for (uint64_t line = address >> LINE_SHIFT; line <= last; line++) fetch(&l1d, line);
}

static void on_code_line(unsigned cpu, void *line) {
    (void)cpu;
    if (counting) fetch(&l1i, (uint64_t)(uintptr_t)line);
}

static enum class class_of(const struct insn *insn) {
    if (is_a64) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(insn), sizeof word);
        return of_a64(word);
    }
    char *text = qemu_plugin_insn_disas(insn);
    enum class found = text ? of_a32(text) : OTHER;
    free(text);
    return found;
}

static void on_translation(plugin_id id, struct tb *tb) {
    (void)id;
    uint64_t found[CLASSES] = {0}, last_line = UINT64_MAX;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct insn *insn = qemu_plugin_tb_get_insn(tb, i);
        found[class_of(insn)]++;
        if (!outer_count) continue;
        qemu_plugin_register_vcpu_mem_cb(insn, on_memory, NO_REGISTERS, LOADS_AND_STORES, NULL);
        uint64_t line = qemu_plugin_insn_vaddr(insn) >> LINE_SHIFT;
        if (line != last_line)
            qemu_plugin_register_vcpu_tb_exec_cb(tb, on_code_line, NO_REGISTERS, (void *)(uintptr_t)line);
        last_line = line;
    }
    for (int k = 0; k < CLASSES; k++)
        if (found[k]) qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD, &counts[k], found[k]);
}

static void start(void) {
    memcpy(counts_at_start, counts, sizeof counts);
    l1d.misses = l1i.misses = outer[0].misses = outer[1].misses = memory_lines = 0;
    counting = true;
}

static void stop(void) {
    counting = false;
    uint64_t total = 0;
    for (int k = 0; k < CLASSES; k++) total += counts[k] - counts_at_start[k];
    fprintf(out, "{\"instructions\": %llu", (unsigned long long)total);
    for (int k = 0; k < CLASSES; k++)
        fprintf(out, ", \"%s\": %llu", CLASS_NAMES[k], (unsigned long long)(counts[k] - counts_at_start[k]));
    if (outer_count)
        fprintf(out, ", \"l1d_misses\": %llu, \"l1i_misses\": %llu, \"l2_misses\": %llu, \"memory_lines\": %llu",
                (unsigned long long)l1d.misses, (unsigned long long)l1i.misses, (unsigned long long)outer[0].misses,
                (unsigned long long)memory_lines);
    fputs("}\n", out);
    fflush(out);
}

static void on_syscall(plugin_id id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                       uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)cpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != getpgid_number) return;
    if ((uint32_t)a1 == 0x7ed00001) start();
    if ((uint32_t)a1 == 0x7ed00002 && counting) stop();
}

/* ---- set-up ---- */

static bool number_of(const char *argument, const char *name, unsigned *value) {
    size_t length = strlen(name);
    if (strncmp(argument, name, length) != 0 || argument[length] != '=') return false;
    *value = 0;
    for (const char *digit = argument + length + 1; *digit >= '0' && *digit <= '9'; digit++)
        *value = *value * 10 + (unsigned)(*digit - '0');
    return true;
}

EXPORT int qemu_plugin_install(plugin_id id, const qemu_info *info, int argc, char **argv) {
    unsigned l1d_kib = 0, l1i_kib = 32, outer_kib[2] = {0, 0};
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "out=", 4) == 0) out = fopen(argv[i] + 4, "a");
        else if (!number_of(argv[i], "l1d", &l1d_kib) && !number_of(argv[i], "l1i", &l1i_kib) &&
                 !number_of(argv[i], "l2", &outer_kib[0]) && !number_of(argv[i], "l3", &outer_kib[1]))
            return -1;
    }
    is_a64 = strcmp(info->target_name, "aarch64") == 0;
    if (!out || (!is_a64 && strcmp(info->target_name, "arm") != 0)) return -1;
    getpgid_number = is_a64 ? 155 : 132; /* Linux, include/uapi/asm-generic/unistd.h; arch/arm/tools/syscall.tbl */
    if (l1d_kib && outer_kib[0]) {
        make_cache(&l1d, l1d_kib, L1_WAYS);
        make_cache(&l1i, l1i_kib, L1_WAYS);
        for (outer_count = 0; outer_count < 2 && outer_kib[outer_count]; outer_count++)
            make_cache(&outer[outer_count], outer_kib[outer_count], OUTER_WAYS);
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
