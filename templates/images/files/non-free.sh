# Runs as root, before packages are looked up, in the image of nodes with GPUs: CUDA is in Debian's non-free part.
cat > /etc/apt/sources.list.d/clusterbook-non-free.sources <<'END'
Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie
Components: contrib non-free
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
