# Unpacks the kernel package that a metapackage depends on into a folder: kernel METAPACKAGE FOLDER. Root is not needed.
set -eu
metapackage=$1
folder=$2
# A list of packages that is not there, or older than the archive, is brought up to date where that is allowed.
if [ "$(id -u)" = 0 ]; then
    apt-get -q update
fi
package=$(apt-cache depends "$metapackage" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
if [ -z "$package" ]; then
    echo "apt knows no $metapackage: run \`apt-get update\` as root, and try again" >&2
    exit 1
fi
half=$folder.half
rm -rf "$half"
mkdir -p "$half"
trap 'rm -rf "$half"' EXIT
cd "$half"
# Root's apt would fetch as a user who may not write here, and warn of it.
apt-get -q -o APT::Sandbox::User=root download "$package"
# Of its 100 MB only the kernel itself is wanted: what the tests use is built in.
mkdir tree
dpkg-deb --fsys-tarfile ./*.deb | tar -x -C tree --wildcards './boot/*'
rm -rf "$folder"
mv tree "$folder"
