# Runs as root, before packages are looked up: NVIDIA's toolkit is in no distribution. Its key is taken by checksum, packages by that key.
/usr/lib/apt/apt-helper download-file https://nvidia.github.io/libnvidia-container/gpgkey /usr/share/keyrings/nvidia-container-toolkit.asc \
    SHA256:c880576d6cf75a48e5027a871bac70fd0421ab07d2b55f30877b21f1c87959c9
cat > /etc/apt/sources.list.d/nvidia-container-toolkit.sources <<END
Types: deb
URIs: https://nvidia.github.io/libnvidia-container/stable/deb/$(dpkg --print-architecture)
Suites: /
Signed-By: /usr/share/keyrings/nvidia-container-toolkit.asc
END
