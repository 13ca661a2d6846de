//! How one body of ordinary Rust becomes a kernel at every level.

/// Compiles a kernel's body once per level and adds the [`Level`](crate::Level) argument that chooses.
///
/// Inside the body the constant `FUSED` says whether the CPU multiplies and adds in one instruction; without it
/// `f32::mul_add` would be a call into the C library (see [`multiply_add`]).
macro_rules! kernel {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$attribute])*
        $visibility fn $name(level: $crate::Level, $($argument: $type),*) {
            #[inline(always)]
            fn body<const FUSED: bool>($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f")]
            fn avx512($($argument: $type),*) { body::<true>($($argument),*) }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($argument: $type),*) { body::<true>($($argument),*) }

            match level.0 {
                #[cfg(target_arch = "x86_64")]
                $crate::level::Instructions::Avx512
                | $crate::level::Instructions::Vnni
                | $crate::level::Instructions::Bfloat16 => {
                    // SAFETY: a level exists only where the CPU has it, and those of VNNI and bfloat16 include AVX-512F.
                    unsafe { avx512($($argument),*) }
                }
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a level exists only where the CPU has it.
                $crate::level::Instructions::Avx2 => unsafe { avx2($($argument),*) },
                // Every 64-bit ARM has NEON and fused multiplication, so its ordinary code uses both.
                #[cfg(target_arch = "aarch64")]
                $crate::level::Instructions::Neon => body::<true>($($argument),*),
                $crate::level::Instructions::Portable => body::<false>($($argument),*),
            }
        }
    };
}
pub(crate) use kernel;

/// `a · b + c`, in one instruction where the level has it.
#[inline(always)]
pub(crate) fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}
