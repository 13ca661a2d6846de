//! Teacher in, student out: homomorphic projective distillation.
