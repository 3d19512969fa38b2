# Runs as root, last, in the image of compute nodes that can run Podman.

# Nothing listens and nothing is started for users who never asked: Podman is a program that they run.
for unit in podman.service podman.socket podman-auto-update.service podman-auto-update.timer podman-restart.service; do
    systemctl mask "$unit"
done

# The name that people and their scripts know. Without this file it would print a line about itself each time.
ln -sf podman /usr/bin/docker
mkdir -p /etc/containers
: > /etc/containers/nodocker

systemctl enable container-devices.service nvidia-cdi.service
