//! What the tests share: images made here, a registry that has them, and who asks for them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use pybuild::archive::Codec;
use pybuild::model::{Arch, Event, Observer, Sha256};
use pybuild::net::{Client, Settings};
use pybuild::rootfs::oci::{
    Access, Inputs, OciError, Place, Refusal, Registries, Resolved, Tools, fetch, resolve,
};
use pybuild::store::Store;
use pybuild::sys::interrupt::Interrupt;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::{Reply, Request};

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const ARCH: Arch = Arch::Amd64;

/// A layer's tar archive with one file.
pub(crate) fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    tar_of(&[(name, content)])
}

/// A tar archive of these files.
pub(crate) fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, name, *content)
            .expect("memory");
    }
    builder.into_inner().expect("memory")
}

/// The same, compressed.
pub(crate) fn compressed(codec: Codec, bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    match codec {
        Codec::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(bytes).expect("memory");
            out.finish().expect("memory")
        }
        Codec::Xz => {
            let mut out = liblzma::write::XzEncoder::new(Vec::new(), 0);
            out.write_all(bytes).expect("memory");
            out.finish().expect("memory")
        }
        Codec::Zstd => zstd::encode_all(bytes, 1).expect("memory"),
    }
}

pub(crate) fn named(digest: Sha256) -> String {
    format!("sha256:{digest}")
}

/// Documents and layers, as a registry or a directory has them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    /// By tag or digest: the media type and the document.
    pub(crate) manifests: BTreeMap<String, (String, Vec<u8>)>,
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
}

impl Content {
    /// Keeps a blob, and describes it.
    pub(crate) fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = named(Sha256::of(bytes));
        self.blobs.insert(digest.clone(), bytes.to_vec());
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Keeps a manifest or an index under its digest, and describes it.
    pub(crate) fn document(&mut self, media_type: &str, document: &Value) -> Value {
        let bytes = document.to_string().into_bytes();
        let digest = named(Sha256::of(&bytes));
        let size = bytes.len();
        self.manifests
            .insert(digest.clone(), (media_type.to_owned(), bytes));
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    /// Gives a document another name.
    pub(crate) fn tag(&mut self, tag: &str, descriptor: &Value) {
        let digest = descriptor["digest"].as_str().expect("a digest");
        let found = self.manifests[digest].clone();
        self.manifests.insert(tag.to_owned(), found);
    }

    /// An image of these layers (as tar archives, which are compressed with gzip).
    pub(crate) fn image(&mut self, layers: &[Vec<u8>]) -> Value {
        let config = config(layers);
        let config = self.blob(CONFIG, config.to_string().as_bytes());
        let pack = |layer: &Vec<u8>| compressed(Codec::Gzip, layer);
        let layers: Vec<Value> = layers.iter().map(|l| self.blob(LAYER, &pack(l))).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.document(MANIFEST, &manifest)
    }

    /// What a sound registry answers.
    pub(crate) fn answer(&self, request: &Request) -> Reply {
        let mut parts = request.path.rsplitn(3, '/');
        let (name, kind) = (parts.next().unwrap_or_default(), parts.next());
        let missing = || Reply::ok(br#"{"errors":[{"message":"not known here"}]}"#).but(404);
        match kind {
            Some("manifests") => self.manifests.get(name).map_or_else(missing, |found| {
                let (media_type, bytes) = found;
                let digest = Sha256::of(bytes);
                Reply::ok(bytes)
                    .header(&format!("Content-Type: {media_type}"))
                    .header(&format!("Docker-Content-Digest: sha256:{digest}"))
            }),
            Some("blobs") => {
                self.blobs
                    .get(name)
                    .map_or_else(missing, |bytes| match request.range() {
                        Some(had) if had < bytes.len() => Reply::rest(bytes, had),
                        _ => Reply::ok(bytes),
                    })
            }
            _ => missing(),
        }
    }
}

/// A configuration for layers of these tar archives.
pub(crate) fn config(layers: &[Vec<u8>]) -> Value {
    let diff_ids: Vec<String> = layers.iter().map(|l| named(Sha256::of(l))).collect();
    json!({"os": "linux", "architecture": "amd64", "created": "2021-02-03T04:05:06Z",
        "config": {"Env": ["PATH=/usr/bin:/bin", "A=1"], "Labels": {"who": "me"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}})
}

/// Bytes that repeat nowhere near.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Two layers, one of them large enough to be cut.
pub(crate) fn two_layers() -> Vec<Vec<u8>> {
    vec![
        tar("etc/os-release", b"ID=test\n"),
        tar("big", &noise(3 << 20)),
    ]
}

/// Hears what happens.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<Event>>);

impl Observer for Heard {
    fn event(&self, event: Event) {
        self.0.lock().expect("no panic").push(event);
    }
}

impl Heard {
    /// Bytes that were told of.
    fn bytes(&self) -> u64 {
        let events = self.0.lock().expect("no panic");
        let bytes = |event: &Event| match event {
            Event::Advance { by, .. } => *by,
            _ => 0,
        };
        events.iter().map(bytes).sum()
    }

    pub(crate) fn warnings(&self) -> usize {
        let events = self.0.lock().expect("no panic");
        let warning = |event: &&Event| matches!(event, Event::Warning(_));
        events.iter().filter(warning).count()
    }
}

/// Someone who asks.
pub(crate) struct Here {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
    pub(crate) client: Client,
    pub(crate) registries: Registries,
    pub(crate) heard: Heard,
    pub(crate) interrupt: Interrupt,
}

impl Here {
    pub(crate) fn new() -> Self {
        Self::with(&Inputs::default())
    }

    /// With credentials, mirrors and so on.
    pub(crate) fn with(inputs: &Inputs) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let settings = Settings {
            tries: 3,
            backoff: Duration::from_millis(2),
            backoff_max: Duration::from_millis(4),
            retry_after_max: Duration::from_millis(5),
            idle_timeout: Duration::from_secs(2),
            low_speed: 1,
            redirects: 4,
            proxy: false,
            ..Settings::default()
        };
        Self {
            store: Store::open(&dir.path().join("store")).expect("a store"),
            client: Client::new(settings),
            registries: Registries::new(Access::resolve(inputs).expect("sound settings")),
            heard: Heard::default(),
            interrupt: Interrupt::manual().expect("an eventfd"),
            dir,
        }
    }

    pub(crate) fn tools(&self) -> Tools<'_> {
        Tools {
            store: &self.store,
            client: &self.client,
            registries: &self.registries,
            observer: &self.heard,
            interrupt: &self.interrupt,
        }
    }

    pub(crate) fn resolve(&self, place: &str) -> Result<Resolved, OciError> {
        let place: Place = place.parse().expect("a place");
        resolve(&place, ARCH, &self.tools())
    }

    pub(crate) fn fetch(&self, resolved: &Resolved) -> Result<Vec<PathBuf>, OciError> {
        fetch(resolved, &self.tools())
    }

    /// Resolves and fetches an image of these layers.
    pub(crate) fn pull(&self, place: &str, layers: &[Vec<u8>]) -> Resolved {
        let resolved = self.resolve(place).expect("resolved");
        let before = self.heard.bytes();
        let blobs = self.fetch(&resolved).expect("fetched");
        assert_eq!(self.heard.bytes() - before, resolved.size(), "{place}");
        assert_eq!(blobs.len(), layers.len());
        for ((blob, layer), found) in blobs.iter().zip(layers).zip(&resolved.layers) {
            assert_eq!(found.diff_id, Sha256::of(layer));
            let file = std::fs::File::open(blob).expect("the blob");
            let mut tar = pybuild::archive::decoder(file).expect("its codec");
            let (digest, _) = Sha256::of_reader(&mut tar).expect("it decompresses");
            assert_eq!(digest, found.diff_id);
        }
        self.is_tidy();
        resolved
    }

    /// Nothing half-written is left.
    pub(crate) fn is_tidy(&self) {
        for room in ["partial", "scratch"] {
            let room = self.store.root().join(room);
            assert_eq!(std::fs::read_dir(room).expect("there").count(), 0);
        }
    }
}

/// The name of an image in a registry that a test started.
pub(crate) fn image(server: &crate::server::Server) -> String {
    let url = server.url("/team/image:v1");
    url.trim_start_matches("http://").to_owned()
}

/// The only registry's refusal.
pub(crate) fn refusal(error: &OciError) -> &Refusal {
    let OciError::Unavailable { tried, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(tried.0.len(), 1, "{error}");
    &tried.0[0].why
}
