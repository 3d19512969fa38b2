# Runs as root, last, in images that only add packages. As in the common image: these are newer than the note that caches are up to date.
touch /etc/.updated /var/.updated
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/*.log /var/log/apt
