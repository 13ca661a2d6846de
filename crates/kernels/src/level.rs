//! Which vector instructions kernels use: the best the CPU has, asked at run time, or those that `HPD_SIMD` names.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// The environment variable that forces a level, for tests and for comparing levels.
const VARIABLE: &str = "HPD_SIMD";

/// A set of vector instructions that this CPU has.
///
/// Only functions of this type make one, each after asking the CPU, so holding a level proves that the CPU can run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(pub(crate) Instructions);

/// The instruction sets kernels are written for; each exists only where it can occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instructions {
    Portable,
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// AVX2, FMA and `popcnt`.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512F and those of AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX-512F, BW, VL and VNNI and those of AVX2: sums of bytes in one instruction.
    #[cfg(target_arch = "x86_64")]
    Vnni,
    /// That of VNNI and AVX-512 BF16: products of bfloat16 pairs in one instruction.
    #[cfg(target_arch = "x86_64")]
    Bfloat16,
}

impl Level {
    /// The one to use: what `HPD_SIMD` names, or the fastest. A name that cannot be followed counts as none here;
    /// [`Level::chosen`] tells of it.
    pub fn best() -> Self {
        Self::chosen().unwrap_or_else(|_| Self::fastest())
    }

    /// The one to use: what the environment variable `HPD_SIMD` names, or the fastest. The variable is read once.
    ///
    /// # Errors
    /// When it names none, or one that this CPU lacks.
    pub fn chosen() -> Result<Self, UnusableLevel> {
        static CHOSEN: OnceLock<Result<Level, UnusableLevel>> = OnceLock::new();
        let choose = || match std::env::var_os(VARIABLE) {
            Some(word) if !word.is_empty() => word.to_string_lossy().parse(),
            _ => Ok(Self::fastest()),
        };
        CHOSEN.get_or_init(choose).clone()
    }

    /// Every one, slowest first, for tests and benchmarks that compare them.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut, reason = "some CPUs have nothing more")]
        let mut levels = vec![Self(Instructions::Portable)];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("popcnt")
        {
            levels.push(Self(Instructions::Avx2));
            if is_x86_feature_detected!("avx512f") {
                levels.push(Self(Instructions::Avx512));
                let bytes =
                    is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl");
                if bytes && is_x86_feature_detected!("avx512vnni") {
                    levels.push(Self(Instructions::Vnni));
                    if is_x86_feature_detected!("avx512bf16") {
                        levels.push(Self(Instructions::Bfloat16));
                    }
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            levels.push(Self(Instructions::Neon));
        }
        levels
    }

    /// The same without AVX-512, for loops from which LLVM makes gathers and scatters where there are such instructions, many
    /// times as slow as what it makes for AVX2.
    pub(crate) fn without_avx512(self) -> Self {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 | Instructions::Vnni | Instructions::Bfloat16 => {
                Self(Instructions::Avx2)
            }
            _ => self,
        }
    }

    fn fastest() -> Self {
        Self::available().pop().unwrap_or(Self(Instructions::Portable))
    }

    fn name(self) -> &'static str {
        match self.0 {
            Instructions::Portable => "portable",
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => "neon",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Instructions::Vnni => "vnni",
            #[cfg(target_arch = "x86_64")]
            Instructions::Bfloat16 => "bf16",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = UnusableLevel;

    fn from_str(word: &str) -> Result<Self, UnusableLevel> {
        let named = Self::available().into_iter().find(|level| level.name() == word);
        named.ok_or_else(|| UnusableLevel { word: word.to_owned() })
    }
}

/// `HPD_SIMD` names no level, or one that this CPU lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableLevel {
    word: String,
}

impl fmt::Display for UnusableLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Level::available().into_iter().map(Level::name).collect();
        let (word, names) = (&self.word, names.join(", "));
        write!(
            f,
            "`{word}` in {VARIABLE} is no level of this CPU's vector instructions, expected one of {names}"
        )
    }
}

impl std::error::Error for UnusableLevel {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_found_by_its_name() {
        for level in Level::available() {
            println!("level {level}");
            assert_eq!(level.to_string().parse(), Ok(level));
        }
    }

    #[test]
    fn a_word_that_names_no_level_is_told_with_those_there_are() {
        for word in ["", "sse9", "AVX2 "] {
            let message = word.parse::<Level>().unwrap_err().to_string();
            assert!(message.contains(&format!("`{word}` in HPD_SIMD")), "{message}");
            assert!(message.contains("expected one of portable"), "{message}");
        }
    }
}
