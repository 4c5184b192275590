//! The media types of images' documents and layers: what each means here. Pure.

use crate::archive::Codec;

/// What a document or a blob is, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// A list of images, by platform.
    Index,
    /// An image.
    Manifest,
    /// What an image is configured with.
    Config,
    /// A layer: compressed how, and whether it may be elsewhere than in the registry.
    Layer { codec: Option<Codec>, foreign: bool },
    /// A manifest of Docker's first schema, which nobody writes any more.
    SchemaOne,
}

/// The documents that a registry may answer a question for a manifest with.
pub(super) const ACCEPT: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// What a media type means, parameters (`; charset=utf-8`) aside; `None` for all others.
pub(super) fn of(media_type: &str) -> Option<Media> {
    let bare = media_type.split(';').next().unwrap_or_default().trim();
    let layer = |codec, foreign| Some(Media::Layer { codec, foreign });
    match bare {
        "application/vnd.oci.image.index.v1+json"
        | "application/vnd.docker.distribution.manifest.list.v2+json" => Some(Media::Index),
        "application/vnd.oci.image.manifest.v1+json"
        | "application/vnd.docker.distribution.manifest.v2+json" => Some(Media::Manifest),
        "application/vnd.oci.image.config.v1+json"
        | "application/vnd.docker.container.image.v1+json" => Some(Media::Config),
        "application/vnd.docker.distribution.manifest.v1+json"
        | "application/vnd.docker.distribution.manifest.v1+prettyjws" => Some(Media::SchemaOne),
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.docker.image.rootfs.diff.tar" => layer(None, false),
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => layer(Some(Codec::Gzip), false),
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => layer(Some(Codec::Zstd), false),
        "application/vnd.oci.image.layer.nondistributable.v1.tar"
        | "application/vnd.docker.image.rootfs.foreign.diff.tar" => layer(None, true),
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => {
            layer(Some(Codec::Gzip), true)
        }
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd" => {
            layer(Some(Codec::Zstd), true)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_understood() {
        for media_type in ACCEPT {
            let media = of(&format!("{media_type}; charset=utf-8"));
            assert!(matches!(media, Some(Media::Index | Media::Manifest)));
        }
        for other in [
            "",
            "text/html",
            "application/json",
            "application/vnd.oci.image.index.v2+json",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        let encrypted = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
        assert_eq!(of(encrypted), None);
    }
}
