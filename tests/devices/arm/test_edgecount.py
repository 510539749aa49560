"""The counter's classes, tried on instructions outside QEMU: the plug-in's source is compiled into a program of its own."""

import subprocess
from pathlib import Path

import pytest

from devices.arm import setup
from devices.arm.counts import CLASSES
from devices.arm.userland import PLUGIN_SOURCE

HARNESS = """
#include "edgecount.c"
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id i, void (*f)(plugin_id, struct tb *)) {(void)i, (void)f;}
size_t qemu_plugin_tb_n_insns(const struct tb *t) {(void)t; return 0;}
struct insn *qemu_plugin_tb_get_insn(const struct tb *t, size_t i) {(void)t, (void)i; return NULL;}
const void *qemu_plugin_insn_data(const struct insn *i) {return i;}
uint64_t qemu_plugin_insn_vaddr(const struct insn *i) {(void)i; return 0;}
char *qemu_plugin_insn_disas(const struct insn *i) {(void)i; return NULL;}
void qemu_plugin_register_vcpu_tb_exec_inline(struct tb *t, int o, void *p, uint64_t n) {(void)t, (void)o, (void)p, (void)n;}
void qemu_plugin_register_vcpu_tb_exec_cb(struct tb *t, void (*f)(unsigned, void *), int g, void *p)
{(void)t, (void)f, (void)g, (void)p;}
void qemu_plugin_register_vcpu_mem_cb(struct insn *i, void (*f)(unsigned, memory_info, uint64_t, void *), int g, int w, void *p)
{(void)i, (void)f, (void)g, (void)w, (void)p;}
unsigned qemu_plugin_mem_size_shift(memory_info m) {(void)m; return 3;}
void qemu_plugin_register_vcpu_syscall_cb(plugin_id i, void (*f)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t,
uint64_t, uint64_t, uint64_t, uint64_t, uint64_t)) {(void)i, (void)f;}
int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "cache") == 0) {
        make_cache(&l1d, 1, L1_WAYS), make_cache(&outer[0], 4, OUTER_WAYS), outer_count = 1, counting = true;
        for (int i = 2; i < argc; i++) on_memory(0, 0, strtoull(argv[i], NULL, 0), NULL);
        printf("%d %d %d\\n", (int)l1d.misses, (int)outer[0].misses, (int)memory_lines);
        return 0;
    }
    for (int i = 1; i < argc; i++) {
        char *end;
        unsigned long word = strtoul(argv[i], &end, 16);
        puts(CLASS_NAMES[*end || end - argv[i] != 8 ? of_a32(argv[i]) : of_a64((uint32_t)word)]);
    }
}
"""
A64 = {
    "4E829420": "dot_product",  # sdot v0.4s, v1.16b, v2.16b
    "6E829420": "dot_product",  # udot
    "4F82E020": "dot_product",  # sdot v0.4s, v1.16b, v2.4b[0]
    "4E82A420": "i8mm",  # smmla v0.4s, v1.16b, v2.16b
    "4E22CC20": "float_multiply_add",  # fmla v0.4s, v1.4s, v2.4s
    "4F821020": "float_multiply_add",  # fmla v0.4s, v1.4s, v2.s[0]
    "1F020C20": "float_multiply_add",  # fmadd s0, s1, s2, s3
    "4E22D420": "float_other",  # fadd v0.4s, v1.4s, v2.4s
    "4F829020": "float_other",  # fmul v0.4s, v1.4s, v2.s[0]
    "1E222820": "float_other",  # fadd s0, s1, s2
    "0E628020": "vector_multiply",  # smlal v0.4s, v1.4h, v2.4h
    "0F622020": "vector_multiply",  # smlal v0.4s, v1.4h, v2.h[2]
    "0E22C020": "vector_multiply",  # smull v0.8h, v1.8b, v2.8b
    "4EA29C20": "vector_multiply",  # mul v0.4s, v1.4s, v2.4s
    "4F428020": "vector_multiply",  # mul v0.8h, v1.8h, v2.h[0]
    "6EA2B420": "vector_multiply",  # sqrdmulh v0.4s, v1.4s, v2.4s
    "4EA28420": "vector_other",  # add v0.4s, v1.4s, v2.4s
    "4E606820": "vector_other",  # sadalp v0.4s, v1.8h
    "4F0A5420": "vector_other",  # shl v0.16b, v1.16b, #2
    "3DC00000": "vector_load",  # ldr q0, [x0]
    "AD400400": "vector_load",  # ldp q0, q1, [x0]
    "4C407820": "vector_load",  # ld1 {v0.4s}, [x1]
    "3D800000": "vector_store",  # str q0, [x0]
    "AD000400": "vector_store",  # stp q0, q1, [x0]
    "F9400020": "load",  # ldr x0, [x1]
    "B9800020": "load",  # ldrsw x0, [x1]: bit 22 is 0, as in a store
    "F9800020": "load",  # prfm pldl1keep, [x1]
    "F9000020": "store",  # str x0, [x1]
    "8B010000": "integer",  # add x0, x0, x1
    "9B020020": "multiply",  # madd x0, x1, x2, x0
    "14000000": "branch",  # b
    "D65F03C0": "branch",  # ret
    "04200000": "sve",  # add z0.b, z0.b, z0.b
}
"""Encodings as an assembler gives them; capstone 4 reads them back as in the remark, save dot product and i8mm, which it doesn't know."""
A32 = {
    "vmla.f32 q8, q0, d2[0]": "float_multiply_add",
    "vfma.f32 q8, q0, q1": "float_multiply_add",
    "vadd.f32 q8, q0, q1": "float_other",
    "vmlal.s16 q8, d0, d2": "vector_multiply",
    "vmull.s8 q8, d0, d2": "vector_multiply",
    "vqrdmulh.s32 q8, q0, q1": "vector_multiply",
    "vpadal.s16 q8, q0": "vector_other",
    "vsdot.s8 q8, q0, q1": "dot_product",
    "vld1.8 {d0, d1}, [r0]!": "vector_load",
    "vldmia r0!, {d0-d3}": "vector_load",
    "vst1.32 {d0}, [r0]": "vector_store",
    "ldr\tr3, [pc, #0x10]": "load",
    "ldrbeq r3, [r0]": "load",
    "pop {r4, pc}": "load",
    "strd r0, r1, [sp]": "store",
    "push {r4, lr}": "store",
    "mul r0, r1, r2": "multiply",
    "smlabb r0, r1, r2, r3": "multiply",
    "add r0, r1, r2": "integer",
    "bic r0, r1, #1": "integer",
    "bics r0, r1": "integer",
    "bfi r0, r1, #1, #2": "integer",
    "b #0x100": "branch",
    "beq.w #0x100": "branch",
    "bl #0x100": "branch",
    "bls #0x100": "branch",
    "ble #0x100": "branch",
    "blt #0x100": "branch",
    "blx r3": "branch",
    "bxeq lr": "branch",
    "cbnz r0, #0x10": "branch",
}


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edgecount")
    (folder / "edgecount.c").write_text(PLUGIN_SOURCE, encoding="utf-8")
    (folder / "harness.c").write_text(HARNESS, encoding="utf-8")
    command = [setup.compiler(), "-std=c11", "-Wall", "-Wextra", "-Werror", "-o", "harness", "harness.c"]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    return folder / "harness"


@pytest.mark.parametrize("instructions", [A64, A32], ids=["A64", "A32"])
def test_an_instruction_is_told_by_its_class(harness: Path, instructions: dict[str, str]) -> None:
    done = subprocess.run([harness, *instructions], capture_output=True, text=True, check=True, timeout=60)

    assert dict(zip(instructions, done.stdout.split(), strict=True)) == instructions


def test_the_reader_knows_every_class_of_the_counter() -> None:
    assert all(f'"{name}"' in PLUGIN_SOURCE for name in CLASSES)


def test_a_cache_forgets_the_line_that_was_used_longest_ago(harness: Path) -> None:
    # 1 KiB in 4 ways: 4 sets, so that every 256th byte falls into one set; five lines of it don't fit.
    lines = [str(256 * number) for number in (0, 1, 2, 3, 0, 4, 0, 1)]

    done = subprocess.run([harness, "cache", *lines], capture_output=True, text=True, check=True, timeout=60)

    # 0-3 miss, 0 hits, 4 throws 1 out, 0 hits, 1 misses again; the outer cache has seen 1 before.
    assert done.stdout.split() == ["6", "5", "5"]


def test_an_access_across_two_lines_is_two(harness: Path) -> None:
    done = subprocess.run([harness, "cache", "60"], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.split() == ["2", "2", "2"]
