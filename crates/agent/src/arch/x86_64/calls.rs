//! Functions that hand a call on with its arguments and its return address untouched.

/// `$name` asks `$ask`, which gets the first two arguments and the return address, and jumps to
/// `$here` if that says true, else to the real `$function`.
macro_rules! function_by_caller {
    ($name:ident, $function:ident, $ask:ident, $here:ident, fn($($t:ty),*) -> $r:ty) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name($(_: $t),*) -> $r {
            core::arch::naked_asm!(
                "push rdi", "push rsi", "sub rsp, 8",
                "mov rdx, [rsp + 24]",
                "call {ask}",
                "add rsp, 8", "pop rsi", "pop rdi",
                "test al, al",
                "jne {here}",
                "jmp qword ptr [rip + {real} + {at}]",
                ask = sym $ask,
                here = sym $here,
                real = sym crate::real::REAL,
                at = const 8 * crate::real::Function::$function as usize,
            )
        }
    };
}

/// `$name` calls `$comes` where its first argument is `$first`, or is `$number` and the second is
/// `$second`, and goes on to the real `$function` in any case. All of these are 32 bits wide.
macro_rules! function_watched {
    (@tests $name:ident, $function:ident, $comes:ident, [$($test:literal),*], [$($operands:tt)*]) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                $($test,)*
                "jne 3f",
                "2: push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "sub rsp, 8",
                "call {comes}",
                "add rsp, 8", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
                "3: jmp qword ptr [rip + {real} + {at}]",
                $($operands)*
                comes = sym $comes,
                real = sym crate::real::REAL,
                at = const 8 * crate::real::Function::$function as usize,
            )
        }
    };
    ($name:ident, $function:ident, $comes:ident, $first:expr) => {
        function_watched!(
            @tests $name, $function, $comes,
            ["cmp edi, {first}"],
            [first = const $first,]
        );
    };
    ($name:ident, $function:ident, $comes:ident, $first:expr, ($number:expr, $second:expr)) => {
        function_watched!(
            @tests $name, $function, $comes,
            ["cmp edi, {first}", "je 2f", "cmp edi, {number}", "jne 3f", "cmp esi, {second}"],
            [first = const $first, number = const $number, second = const $second,]
        );
    };
}

/// `$name` is variadic, which Rust can't define: calls `$follow` with the words of its registers
/// and with those on its caller's stack, laid out in memory, and returns what that returns; but for
/// `$unchanged`, for which it goes on to the real `$function` as it was called.
macro_rules! function_listed {
    ($name:ident, $function:ident, $follow:ident, $unchanged:expr) => {
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() -> core::ffi::c_int {
            core::arch::naked_asm!(
                "push r9", "push r8", "push rcx", "push rdx", "push rsi", "push rdi",
                "mov rdi, rsp",
                "lea rsi, [rsp + 56]",
                "sub rsp, 8",
                "call {follow}",
                "add rsp, 8",
                "pop rdi", "pop rsi", "pop rdx", "pop rcx", "pop r8", "pop r9",
                "cmp eax, {unchanged}",
                "je 2f",
                "ret",
                "2: xor eax, eax",
                "jmp qword ptr [rip + {real} + {at}]",
                follow = sym $follow,
                unchanged = const $unchanged,
                real = sym crate::real::REAL,
                at = const 8 * crate::real::Function::$function as usize,
            )
        }
    };
}

/// `$name` calls the real function of number `$function` and jumps to `$then` with what that
/// returned and its own first argument. An exception may pass through it.
macro_rules! function_followed {
    ($name:ident, $function:expr, $then:ident) => {
        unsafe extern "C" {
            fn $name();
        }
        core::arch::global_asm!(
            ".pushsection offheap_hooks,\"ax\",@progbits",
            concat!(".globl ", stringify!($name)),
            concat!(".hidden ", stringify!($name)),
            concat!(".type ", stringify!($name), ", @function"),
            concat!(stringify!($name), ":"),
            ".cfi_startproc",
            "push rdi",
            ".cfi_def_cfa_offset 16",
            "call qword ptr [rip + {real} + {at}]",
            "pop rsi",
            ".cfi_def_cfa_offset 8",
            "mov rdi, rax",
            "jmp {then}",
            ".cfi_endproc",
            ".popsection",
            real = sym crate::real::REAL,
            at = const 8 * $function,
            then = sym $then,
        );
    };
}

/// `$name` is a thread's first function: gives its argument to `$begin` and calls what that
/// returns, a function and its argument. pthread_exit and cancellation unwind through it.
macro_rules! thread_start {
    ($name:ident, $begin:ident) => {
        unsafe extern "C" {
            fn $name(argument: *mut core::ffi::c_void) -> *mut core::ffi::c_void;
        }
        core::arch::global_asm!(
            concat!(".pushsection .text.", stringify!($name), ",\"ax\",@progbits"),
            concat!(".globl ", stringify!($name)),
            concat!(".hidden ", stringify!($name)),
            concat!(".type ", stringify!($name), ", @function"),
            concat!(stringify!($name), ":"),
            ".cfi_startproc",
            "sub rsp, 8",
            ".cfi_def_cfa_offset 16",
            "call {begin}",
            "mov rdi, rdx",
            "call rax",
            "add rsp, 8",
            ".cfi_def_cfa_offset 8",
            "ret",
            ".cfi_endproc",
            concat!(".size ", stringify!($name), ", . - ", stringify!($name)),
            ".popsection",
            begin = sym $begin,
        );
    };
}

pub(crate) use {function_by_caller, function_followed, function_listed, function_watched, thread_start};
