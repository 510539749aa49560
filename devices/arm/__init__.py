"""The emulated Arm userland behind the `qemu` device: fetched once, unpacked in a cache, run without a kernel of its own.

`setup` builds it from `debian` (QEMU with its libraries, and what a guest's Python needs) and `wheels` (the runtimes' own
aarch64 and armv7 builds), and compiles the counting plug-in `edgecount.c`; `userland` finds it again and starts guests in
it; `overlay` makes a guest see the target's processor; `counts` reads what the plug-in wrote.
"""
