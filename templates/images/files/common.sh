# Runs as root, last, in the image of every node.

# Identity is made for each node, never shared through an image.
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub /etc/munge/munge.key
: > /etc/machine-id
rm -f /var/lib/dbus/machine-id

# Debian enables what it installs. These need keys and configuration first, so they are started when those are there.
systemctl disable munge.service

# A login of ours is a script's: nobody reads its greeting, and making one runs five programs each time.
sed -i -e '/pam_motd/d' -e '/pam_mail/d' /etc/pam.d/sshd

# A node is a server without a screen.
systemctl set-default multi-user.target

# Work that belongs to a desktop, or that would make two nodes differ by the hour at which they were started.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer man-db.timer \
    e2scrub_reap.service sshd-keygen.service systemd-firstboot.service; do
    systemctl mask "$unit"
done

# In a container these belong to the machine outside: its kernel, its clock, its mounts, its devices, its screens. On a real machine they
# run as usual, so one image serves both.
for unit in \
    console-getty.service getty-static.service getty@.service \
    dev-hugepages.mount sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount \
    sys-kernel-tracing.mount proc-sys-fs-binfmt_misc.automount \
    kmod-static-nodes.service modprobe@.service systemd-binfmt.service systemd-modules-load.service \
    systemd-random-seed.service systemd-remount-fs.service systemd-sysctl.service \
    systemd-tmpfiles-setup-dev-early.service systemd-tmpfiles-setup-dev.service \
    systemd-udevd.service systemd-udev-trigger.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
    systemd-resolved.service systemd-timesyncd.service chrony.service \
    rpcbind.service rpcbind.socket nfs-client.target nfs-blkmap.service rpc-statd-notify.service run-rpc_pipefs.mount \
    systemd-logind.service systemd-ask-password-console.path systemd-ask-password-wall.path \
    systemd-sysext.socket systemd-creds.socket systemd-hostnamed.socket systemd-initctl.socket \
    systemd-update-utmp.service systemd-journal-flush.service; do
    mkdir -p "/etc/systemd/system/$unit.d"
    printf '[Unit]\nConditionVirtualization=!container\n' > "/etc/systemd/system/$unit.d/10-clusterbook.conf"
done

# Each generator is a program run at every boot and reload; these make nothing that a node uses, on real machines either.
mkdir -p /etc/systemd/system-generators
for generator in hibernate-resume rc-local run ssh system-update sysv tpm2; do
    ln -sf /dev/null "/etc/systemd/system-generators/systemd-$generator-generator"
done

# `module load gnu` and `module load openmpi`: a modulefile is named after the version that was installed, and MPI's folder holds the commands
# without the endings by which the distribution tells the kinds of MPI apart.
mv /etc/lmod/modules/gnu/packaged.lua "/etc/lmod/modules/gnu/$(gcc -dumpfullversion).lua"
version=$(dpkg-query -W -f '${Version}' openmpi-bin)
mv /etc/lmod/modules/openmpi/packaged.lua "/etc/lmod/modules/openmpi/${version%%-*}.lua"
install -d -m 0755 /usr/lib/openmpi-module/bin
for program in mpicc mpicxx mpic++ mpifort mpif77 mpif90 mpirun mpiexec; do
    ln -s "/usr/bin/$program.openmpi" "/usr/lib/openmpi-module/bin/$program"
done

# Three services rebuild caches on the first boot after /usr changed. Do it once here instead of once per node.
ldconfig
journalctl --update-catalog
systemd-sysusers
touch /etc/.updated /var/.updated

rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/*.log /var/log/apt /var/log/journal /tmp/* /var/tmp/*
