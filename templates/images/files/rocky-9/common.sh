# Runs as root, last, in the image of every node.

# Identity is made for each node, never shared through an image.
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub /etc/munge/munge.key
: > /etc/machine-id

# They need keys and configuration first, so they are started when those are there.
systemctl disable munge.service
systemctl enable sshd.service logrotate.timer chronyd.service
systemctl set-default multi-user.target

# Work that belongs to a desktop, or that would make two nodes differ by the hour at which they were started. A node is born with its
# host key, so none is made here.
for unit in dnf-makecache.timer fstrim.timer systemd-firstboot.service sshd-keygen.target; do
    systemctl mask "$unit"
done

# In a container these belong to the machine outside: its kernel, its clock, its mounts, its devices, its screens. On a real machine they
# run as usual, so one image serves both.
for unit in \
    console-getty.service getty@.service \
    dev-hugepages.mount sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount \
    sys-kernel-tracing.mount proc-sys-fs-binfmt_misc.automount \
    kmod-static-nodes.service modprobe@.service systemd-binfmt.service systemd-modules-load.service \
    systemd-random-seed.service systemd-remount-fs.service systemd-sysctl.service \
    systemd-tmpfiles-setup-dev.service systemd-udevd.service systemd-udev-trigger.service \
    systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-resolved.service chronyd.service systemd-logind.service \
    rpcbind.service rpcbind.socket nfs-client.target rpc-statd-notify.service var-lib-nfs-rpc_pipefs.mount \
    systemd-update-utmp.service systemd-journal-flush.service; do
    mkdir -p "/etc/systemd/system/$unit.d"
    printf '[Unit]\nConditionVirtualization=!container\n' > "/etc/systemd/system/$unit.d/10-clusterbook.conf"
done

# Slurm's daemons agree on this user. OpenHPC's packages make it; the folder is where the configuration goes.
getent passwd slurm >/dev/null
install -d -o root -g root -m 0755 /etc/slurm /var/lib/slurm

touch /etc/.updated /var/.updated
rm -rf /var/cache/dnf /var/log/dnf*.log /var/log/hawkey.log /tmp/* /var/tmp/*
