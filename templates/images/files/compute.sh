# Runs as root, last, in the image of nodes that run jobs.

# slurmd starts once there is a controller to fetch the configuration from.
systemctl disable slurmd.service
install -d -o root -g root -m 0755 /var/lib/slurm/slurmd

# As in the common image: these packages are newer than the note that caches are up to date.
touch /etc/.updated /var/.updated
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/*.log /var/log/apt
