# Runs as root, before packages are looked up: where OpenHPC and what it builds on come from.
machine=$(uname -m)
dnf -q -y install dnf-plugins-core epel-release
dnf -q -y config-manager --set-enabled crb
dnf -q -y install "http://repos.openhpc.community/OpenHPC/3/EL_9/$machine/ohpc-release-3-1.el9.$machine.rpm"
