# Installs Debian packages, as root, without starting the services that some of them bring.
set -eu
export DEBIAN_FRONTEND=noninteractive
# Debian's way to say so is a policy; one that is there already is left alone.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
apt-get -q update
apt-get -q -y --no-install-recommends install "$@"
