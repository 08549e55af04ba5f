//! Extensions, which stay when the name before them folds.

use std::collections::HashSet;
use std::sync::LazyLock;

/// The lengths of what may be the extensions of an id, with their dots, the shortest first: anything
/// that is short and begins with a letter, and two of them.
pub(in crate::report) fn of_id(text: &[u8]) -> impl Iterator<Item = usize> {
    let last = last_part(text).filter(|part| is_any(part));
    let first = last.map(|part| part.len() + 1);
    let both = first.and_then(|length| {
        let before = last_part(&text[..text.len() - length])?;
        is_any(before).then_some(length + before.len() + 1)
    });
    first.into_iter().chain(both)
}

/// The length of a name's extensions, with their dots: those that are known.
pub(in crate::report) fn of_name(name: &[u8]) -> usize {
    let Some(last) = last_part(name).filter(|part| is_known(part)) else { return 0 };
    let length = last.len() + 1;
    match last_part(&name[..name.len() - length]) {
        Some(before) if may_be_before(before, last) => length + before.len() + 1,
        _ => length,
    }
}

/// What is behind the last dot, if something is before it.
fn last_part(text: &[u8]) -> Option<&[u8]> {
    let dot = memchr::memrchr(b'.', text)?;
    (dot > 0).then(|| &text[dot + 1..])
}

const LONGEST: usize = 11;

fn is_any(part: &[u8]) -> bool {
    let begins = part.first().is_some_and(u8::is_ascii_alphabetic) || is_known(part);
    begins && part.len() <= LONGEST && part.iter().all(u8::is_ascii_alphanumeric)
}

/// Whether of `a.b` both are extensions: `tar.gz`, `js.map`, `min.js`.
fn may_be_before(before: &[u8], last: &[u8]) -> bool {
    is_known_before(before) || is_known(before) && is_behind_others(last)
}

fn is_known(part: &[u8]) -> bool {
    KNOWN.contains(lower(part, &mut [0; LONGEST]))
}

fn is_known_before(part: &[u8]) -> bool {
    BEFORE_OTHERS.contains(&lower(part, &mut [0; LONGEST]))
}

fn is_behind_others(part: &[u8]) -> bool {
    BEHIND_OTHERS.contains(&lower(part, &mut [0; LONGEST]))
}

/// A part in small letters; nothing, if it is too long.
fn lower<'a>(part: &[u8], room: &'a mut [u8; LONGEST]) -> &'a [u8] {
    let Some(room) = room.get_mut(..part.len()) else { return b"" };
    room.copy_from_slice(part);
    room.make_ascii_lowercase();
    room
}

type Words = LazyLock<HashSet<&'static [u8]>>;

/// Compressed, signed, mapped: such a file is made from one with an extension of its own.
static BEHIND_OTHERS: [&[u8]; 17] = [
    b"asc", b"bak", b"br", b"bz2", b"gz", b"lz4", b"lzma", b"map", b"md5", b"sha1", b"sha256",
    b"sha512", b"sig", b"torrent", b"xz", b"z", b"zst",
];

/// What a file was made for, before its extension.
static BEFORE_OTHERS: [&[u8]; 7] = [b"bundle", b"chunk", b"d", b"esm", b"min", b"module", b"umd"];

/// Extensions of files that servers have and of formats that applications answer in. Top-level domains
/// that are also extensions of rare files are not here, since a place may have names of hosts.
static KNOWN: Words = LazyLock::new(|| {
    "3ds 3g2 3gp 3mf 7z aac abw action aif aiff apk appcache appimage arrow arw asc asf ashx asmx \
     asp aspx ass atom avi avif avro azw azw3 bak bat bin bmp br bson bz bz2 c cab cbr cbz cc cer \
     cfg cfm cgi ckpt class cmd conda conf config cpg cpp cr2 crate crl crt crx cshtml css csv \
     cue dae dat db db3 dbf dds deb der dfxp diff dll dmg do doc docm docx dot dotx draco drawio \
     dta dtd dump dwg dxf dylib e57 ear ejs elf emf eml eot eps epub erb exe exr f4v fbx fcgi \
     feather flac flv fon gdb gem geojson gguf gif git glb gltf go gpg gpkg gpx gradle graphql gz \
     h h5 har hbs hdf heic heif hpp htaccess htc htm html hxx ical ico ics idx iff iges igs img \
     info ini ipa ipynb ism isml ismv iso jad jar jardiff java jnlp jp2 jpe jpeg jpg js jsf json \
     json5 jsonl jsonld jsonp jsp jspa jspx jsx jxl key keystore kml kmz ksh kt ktx ktx2 laz less \
     lib lock log lrc lua lz lz4 lzma m1v m2ts m3u m3u8 m4a m4b m4s m4v manifest map markdown \
     mbtiles md md5 mdb mdx mhtml mid midi mjs mk mka mks mkv mng mobi mod mov mp2 mp3 mp4 mpd \
     mpe mpeg mpg mpkg msg msi msix msu mvt nar ndjson nef nfo npy npz nsf nupkg nuspec o o5m obj \
     odb odf odg odp ods odt oga ogg ogv ogx old onnx opml opus orc orig osm otf ova ovf p12 p7b \
     pac pak parquet patch pb pbf pbm pbtxt pcap pck pdb pdf pem pfb pfx pgm pgn php php3 php4 \
     php5 php7 phps phtml pict pkg pkl pl plist ply png pnm po pom pot ppk ppm pps ppsx ppt pptm \
     pptx prj properties proto ps ps1 psd psm1 pth pub py pyc pyi pyw qt r rar raw rb rdata rdf \
     rdfa rdp rds rej rmvb rpm rs rss rst rtf rtx s safetensors sas7bdat sass sav sbv scala scss \
     ser sgml sh sha1 sha256 sha512 shp shtm shtml shx sig sitemap sln snap so sql sqlite sqlite3 \
     srf srl srt ssa step stl stm storyboard stp styl sub sum svc svg svgz swf swift swp sylk tar \
     tbz tbz2 tcl tdf tex tflite tfrecord tfstate tga tgz thrift tif tiff tmp toml topojson \
     torrent tpk tpl ts tsv tsx ttc ttf ttl ttml tx txt txz unl usdz vb vbs vcf vcs vdi vdx vhd \
     vhdx vmdk vob vsd vsdx vtpk vtt vue war wasm wat wav wbmp weba webapp webm webmanifest webp \
     webvtt whl wma wml wmv woff woff2 wps wsdl wsf wsgi xap xcf xdelta xhtml xls xlsb xlsm xlsx \
     xlt xltx xml xpi xpm xps xsd xsl xslt xspf xz yaml yml z zip zipx zst zsync"
        .split_ascii_whitespace()
        .map(str::as_bytes)
        .collect()
});
