//! Random numbers of the distributions that the model names.

/// A stream of its own per use, so that every policy meets the same calls and antagonists.
#[derive(Debug)]
pub(crate) struct Stream(fastrand::Rng);

impl Stream {
    /// One of the streams of a seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ stream))
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.0.u64(..)
    }

    pub(crate) fn ratio(&mut self) -> f64 {
        self.0.f64()
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end)
    }

    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.ratio()).ln()
    }

    /// Of mean 0 and deviation 1 (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.ratio()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.ratio()).cos()
    }
}
