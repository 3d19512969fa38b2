# Runs as root, last, in the image of every node that can run Apptainer.

# Debian keeps Apptainer out of its stable releases, since its makers support only the newest version. It comes from the unstable
# release and nothing else does: what it needs is taken from the node's own release.
mirror=$(sed -n -e 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\) .*/\2/p' -e 's/^URIs: *\([^ ]*\).*/\1/p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1)
cat >/etc/apt/sources.list.d/apptainer.sources <<END
Types: deb
URIs: ${mirror:-http://deb.debian.org/debian}
Suites: sid
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
Check-Valid-Until: no
END
cat >/etc/apt/preferences.d/apptainer <<'END'
Package: *
Pin: release n=sid
Pin-Priority: -1

Package: apptainer
Pin: release n=sid
Pin-Priority: 500
END
apt-get -q -o Acquire::Retries=3 -o Acquire::Languages=none update
apt-get -q -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io --no-install-recommends \
    install apptainer
apt-get clean
# An upgrade of a node looks at its own release again, and leaves Apptainer as it is.
rm -f /etc/apt/sources.list.d/apptainer.sources /etc/apt/preferences.d/apptainer

# `module load apptainer`: the modulefile is named after the version that was installed.
version=$(dpkg-query -W -f '${Version}' apptainer)
mv /etc/lmod/modules/apptainer/packaged.lua "/etc/lmod/modules/apptainer/${version%%[-+]*}.lua"

systemctl enable container-devices.service
