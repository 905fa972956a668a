//! How content is packed, by the names of reqwest's setters.

/// A way to pack content that reqwest unpacks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Packing {
    Gzip,
    Brotli,
    Zstd,
    Deflate,
}

// === impl Packing ===

impl Packing {
    pub(super) const ALL: [Self; 4] = [Self::Gzip, Self::Brotli, Self::Zstd, Self::Deflate];

    /// The setter of the builder that decides it, which is what a client's `Debug` text calls it.
    pub(super) const fn setter(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "brotli",
            Self::Zstd => "zstd",
            Self::Deflate => "deflate",
        }
    }

    /// What a client that does it has.
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Gzip => "`gzip`",
            Self::Brotli => "`brotli`",
            Self::Zstd => "`zstd`",
            Self::Deflate => "`deflate`",
        }
    }

    pub(super) const fn check(self) -> &'static str {
        match self {
            Self::Gzip => {
                "`gzip` (feature `reqwest-013-gzip`) or `no_gzip` of the builder; every client has \
                 it where reqwest's feature `gzip` is on"
            }
            Self::Brotli => {
                "`brotli` (feature `reqwest-013-brotli`) or `no_brotli` of the builder; every client \
                 has it where reqwest's feature `brotli` is on"
            }
            Self::Zstd => {
                "`zstd` (feature `reqwest-013-zstd`) or `no_zstd` of the builder; every client has \
                 it where reqwest's feature `zstd` is on"
            }
            Self::Deflate => {
                "`deflate` (feature `reqwest-013-deflate`) or `no_deflate` of the builder; every \
                 client has it where reqwest's feature `deflate` is on"
            }
        }
    }
}
