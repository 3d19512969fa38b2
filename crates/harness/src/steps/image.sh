# Makes a container image as `docker save` would write it, where the machine reaches no registry: image.sh NAME FILE
#
#   tiny        a shell and a few programs, copied from the machine that this runs on
#   pytorch     Debian's PyTorch, in place of NVIDIA's
#   tensorflow  PyPI's TensorFlow, in place of NVIDIA's
#
# The latter two bring scikit-learn, which brings handwritten digits. A file that is there already is left alone.
set -eu
name=$1 file=$2
umask 022
[ ! -e "$file" ] || exit 0
folder=$(mktemp -d "$file.XXXXXX")
trap 'rm -rf "$folder"' EXIT
trap 'exit 143' TERM INT

# debian PACKAGES [OPTION...]: a root file system made from packages, without what only people read.
debian() {
    include=$1
    shift
    mmdebstrap --quiet --variant=minbase --format=tar --include="$include" --aptopt='Acquire::Retries "3"' \
        --aptopt='Acquire::Languages "none"' --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/include/*' "$@" trixie "$folder/layer.tar"
}

case $name in
tiny)
    root=$folder/root
    for directory in bin dev etc home proc run sys tmp; do mkdir -p "$root/$directory"; done
    for program in sh cat hostname id ls; do
        path=$(command -v "$program")
        cp -L "$path" "$root/bin/$program"
        for library in $(ldd "$path" | grep -oE '/[^ ]+'); do
            mkdir -p "$root${library%/*}"
            cp -L "$library" "$root$library"
        done
    done
    echo 'root:x:0:0::/:/bin/sh' >"$root/etc/passwd"
    echo 'root:x:0:' >"$root/etc/group"
    tar -C "$root" --owner=0 --group=0 -cf "$folder/layer.tar" .
    rm -rf "$root"
    ;;
pytorch) debian python3-torch,python3-sklearn ;;
tensorflow)
    debian python3
    case $(uname -m) in x86_64) package=tensorflow-cpu ;; *) package=tensorflow ;; esac
    python=$(tar -tf "$folder/layer.tar" | sed -n 's,^\./usr/bin/python\(3\.[0-9]*\)$,\1,p')
    place=usr/local/lib/python$python/dist-packages
    platforms=
    for release in 2_17 2_27 2_28; do platforms="$platforms --platform manylinux_${release}_$(uname -m)"; done
    # shellcheck disable=SC2086 # a list of words
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-cache-dir --no-compile --only-binary=:all: \
        --python-version "$python" $platforms --platform "manylinux2014_$(uname -m)" \
        --target "$folder/root/$place" "$package==2.20.0" scikit-learn==1.7.2
    # What only compiles against it.
    rm -rf "$folder/root/$place/tensorflow/include" "$folder/root/$place/bin"
    # Without the folder itself, which Debian has: engines refuse a layer that names a path twice.
    (cd "$folder/root" && find "./$place" -mindepth 1 -maxdepth 1) >"$folder/list"
    tar -C "$folder/root" --owner=0 --group=0 -rf "$folder/layer.tar" -T "$folder/list"
    rm -rf "$folder/root"
    ;;
*)
    echo "there is no image $name" >&2
    exit 2
    ;;
esac

sum() { sha256sum <"$1" | cut -d' ' -f1; }
case $(uname -m) in x86_64) architecture=amd64 ;; aarch64) architecture=arm64 ;; *) architecture=$(uname -m) ;; esac
printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=/usr/bin:/bin"],"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$architecture" "$(sum "$folder/layer.tar")" >"$folder/config"
config=$(sum "$folder/config").json
mv "$folder/config" "$folder/$config"
printf '[{"Config":"%s","RepoTags":["localhost/%s:latest"],"Layers":["layer.tar"]}]' "$config" "$name" >"$folder/manifest.json"
tar -C "$folder" -cf "$folder/image" manifest.json "$config" layer.tar
mv "$folder/image" "$file"
